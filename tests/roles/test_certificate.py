"""What the inventory says of certificates is checked before any server is changed."""

import pytest
from pyinfra.api.exceptions import DeployError

from roles.helper.defaults import Helper
from roles.helper.deploy import check_certificate


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Helper(store_certificate="always"), "store_certificate is 'always'\n  mend: one of required, off"),
        (Helper(store_certificate_days=-1), "store_certificate_days is -1"),
        (Helper(accept_storage_mib=1), "accept_storage_mib is 1\n  mend: 8 to 8192"),
    ],
)
def test_what_means_nothing_is_refused_with_what_may_stand_there(said: Helper, says: str) -> None:
    with pytest.raises(DeployError, match=says):
        check_certificate(said)


def test_both_words_are_taken_and_nothing_is_demanded_unless_it_is_said() -> None:
    check_certificate(Helper(store_certificate="required", store_certificate_days=30))
    check_certificate(Helper())
    assert Helper().store_certificate == "off"
