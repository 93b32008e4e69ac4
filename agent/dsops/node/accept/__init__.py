"""What `dsops node accept` measures of its server; the control host judges it."""
