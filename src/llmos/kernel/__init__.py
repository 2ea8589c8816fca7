"""The kernel: durable jobs, one scheduler for requests and jobs, one budget of memory and cores, executors."""
