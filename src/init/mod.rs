//! PID 1 of the container, from clone3 to execve.
