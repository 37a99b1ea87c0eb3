"""What the guests are made of: suites, packages, units. Change it here; what depends on it is built anew.

This file owns lists only. How they become images is for root.py and kernel.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The Debian suite of the root image, and what is in it. VM_PACKAGES (words) adds to the list.
ROOT_SUITE = "trixie"
ROOT_PACKAGES = """
    systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod
    iproute2 iptables nftables procps strace jq attr acl keyutils libcap2-bin xfsprogs e2fsprogs fuse3
    busybox-static uidmap python3-minimal ca-certificates
    runc crun podman conmon containerd netavark slirp4netns fuse-overlayfs criu bpftool apparmor
    selinux-policy-default policycoreutils
""".split() + os.environ.get("VM_PACKAGES", "").split()

# Left out of the image: nobody reads them there.
ROOT_EXCLUDES = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]

# The ordinary user of the image, who has a session with a bus of its own and subordinate ids.
USER, USER_ID = "user", 1000

# Units that would take time at boot and do nothing for the tests. apparmor.service alone takes half a minute where the
# processor is emulated; AppArmor itself stays on in the kernel. tmp.mount would hide a checkout below /tmp.
MASKED_UNITS = """
    apparmor.service containerd.service podman.service podman.socket podman-auto-update.service podman-restart.service
    podman-clean-transient.service podman-auto-update.timer
    systemd-udev-trigger.service systemd-hwdb-update.service systemd-remount-fs.service systemd-journal-flush.service
    systemd-random-seed.service systemd-timesyncd.service systemd-update-utmp.service systemd-firstboot.service
    systemd-sysusers.service systemd-machine-id-commit.service systemd-pcrphase.service systemd-networkd.service
    getty-static.service getty@tty1.service serial-getty@ttyS0.service console-getty.service
    tmp.mount dev-hugepages.mount sys-kernel-debug.mount nftables.service e2scrub_reap.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
    systemd-tmpfiles-clean.timer xfs_scrub_all.timer
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service
    modprobe@dm_mod.service modprobe@loop.service
""".split()

# The kernels: package, suites in the order in which they are tried, and what of its modules is kept.
UML_SUITES = ["forky", "trixie"]
QEMU_SUITES = ["trixie"]
QEMU_KERNEL_PACKAGE = "linux-image-amd64"

# Modules that the initramfs of the emulated machine loads, in this order; those that are absent are built in.
INITRAMFS_MODULES = """
    virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_console virtio_rng
    crc16 crc32c_generic libcrc32c mbcache jbd2 ext4 netfs fscache 9pnet 9pnet_virtio 9p
""".split()

# Modules that are loaded at boot where the kernel has them: without udev's coldplug nobody else does.
GUEST_MODULES = "overlay fuse loop tun veth bridge dummy bfq rdma_rxe"

# Directories of modules that no test can want; they are most of the size.
MODULE_EXCLUDES = """
    drivers/gpu drivers/media drivers/infiniband/hw drivers/net/ethernet drivers/net/wireless drivers/scsi drivers/staging
    drivers/usb drivers/iio drivers/hwmon drivers/input drivers/platform drivers/mtd drivers/ata drivers/hid
    drivers/bluetooth drivers/nvme drivers/edac drivers/isdn drivers/crypto drivers/accel sound net/bluetooth net/wireless
    fs/ocfs2 fs/gfs2 fs/ceph fs/smb fs/afs fs/jfs fs/bcachefs fs/dlm
""".split()

# Without further words the emulated machine, which is slow, runs only the tests of what user-mode Linux lacks: more than
# one CPU, the controllers cpuset, hugetlb, rdma and misc, io.weight, NUMA, PSI, realtime in a cgroup, checkpoints.
QEMU_TESTS = """
    cgroup_v2 cgroup_limits cgroup_small_memory systemd update events process_attributes checkpoint
""".split()

# With SELinux in the place of AppArmor: what has to do with labels.
SELINUX_TESTS = ["lsm"]

# With cgroup v1 and systemd together: what has to do with cgroups. v1 without systemd is what many build machines have.
HYBRID_TESTS = """
    cgroup_lifecycle cgroup_limits cgroup_mount events exec_container kill pause ps systemd update
""".split()


def fingerprint(*words: object, files: tuple[str, ...] = ()) -> str:
    """A hash of the words and of the named files beside this one: what was built from them is stale when it changes."""
    digest = hashlib.sha256(repr(words).encode())
    for name in files:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()
