"""Rehearsal servers: real systemd machines with no way out, simulated GPUs, and faults."""
