"""What runs at the operator's: the command, the fleet, the bundle."""
