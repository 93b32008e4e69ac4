"""Operations that the roles share: pyinfra operations of our own, each one command when nothing changed."""
