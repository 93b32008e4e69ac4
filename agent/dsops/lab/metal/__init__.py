"""Real machines in the lab: qemu guests with a kernel, disks and a boot loader of their own."""
