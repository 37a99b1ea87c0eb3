//! `linux.netDevices`: interfaces that move into the container.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    pub host_name: String,
    pub container_name: String,
}
