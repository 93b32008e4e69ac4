"""What runs on the servers: gateway, agent, balancer, and the local door `dsops node`."""
