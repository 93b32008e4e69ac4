"""What every server of every inventory in this folder shares."""

# Connections: pinned keys only, no agent, no guessing; a cut link ends after 20 s instead of hanging the run.
ssh_strict_host_key_checking = "yes"
ssh_look_for_keys = False
ssh_allow_agent = False
ssh_paramiko_connect_kwargs = {"channel_timeout": 20, "banner_timeout": 20, "auth_timeout": 20}
