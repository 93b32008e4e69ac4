"""The balancer: asks every node how it is, and takes the dead out of nginx by one rename."""
