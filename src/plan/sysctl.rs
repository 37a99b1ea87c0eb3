//! `linux.sysctl`: key forms, and which keys a namespace owns.
