/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The numbers of the stand-in for the NVIDIA driver: what it answers to, and how it is told what to do.
 * tests/vm/guest/standin.rs says the same in Rust; change both.
 *
 * Device                 major                   minors      as the driver has it
 * /dev/nvidia0..3        195 "nvidia"            0..247      the open of minor 3 fails with EIO
 * /dev/nvidia-modeset    195 "nvidia-modeset"    254
 * /dev/nvidiactl         195 "nvidiactl"         255
 * /dev/nvidia-uvm        any "nvidia-uvm"        0; 1 is /dev/nvidia-uvm-tools
 * /dev/nvidia-cap1, 2    any "nvidia-caps"       1, 2
 * /dev/standin           misc                    any         its control, which the driver does not have
 *
 * With the module's parameter older=1 all minors of 195 are "nvidia-frontend", as up to driver 545.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NV_MAJOR 195
#define NV_MINOR_BROKEN 3
#define NV_MINOR_GPU_COUNT 248
#define NV_MINOR_MODESET 254
#define NV_MINOR_CONTROL 255

/* The driver's RM ioctls. Of all of them the stand-in looks into this one only; the rest succeed. */
#define NV_IOCTL_MAGIC 'F'
#define NV_ESC_RM_CONTROL 0x2a

struct nv_rm_control {
	__u32 client;
	__u32 object;
	__u32 command;
	__u32 flags;
	__u64 params __attribute__((aligned(8)));
	__u32 params_size;
	__u32 status;
};

/*
 * What a call does. The number is the command of an NV_ESC_RM_CONTROL, or the request itself on /dev/nvidia-uvm, whose
 * requests are bare numbers. Any other number succeeds at once, with status 0.
 */
#define STANDIN_BEHAVES 0x57440000
#define STANDIN_WHAT(number) (((number) >> 8) & 0xff)
#define STANDIN_ARGUMENT(number) ((number) & 0xff)
#define STANDIN_FAIL 1   /* fails with the error number that is the argument */
#define STANDIN_STATUS 2 /* succeeds, and leaves the argument as the parameters' status */
#define STANDIN_SLEEP 3  /* comes back after so many tenths of a second; no signal ends it */
#define STANDIN_BLOCK 4  /* comes back when STANDIN_WAKE is called, or by a deadly signal */

/* The ioctls of /dev/standin. */
#define STANDIN_PROCESS 0
#define STANDIN_INTERRUPT 1
#define STANDIN_SOFTIRQ 2
#define STANDIN_WORKQUEUE 3

/* Print the text, which ends with a NUL, from that context. Comes back when it is printed. */
struct standin_print {
	__u32 context;
	char text[508];
};

/* Fire the tracepoint nvidia_dev_xid for the PCI device STANDIN_PCI. */
struct standin_xid {
	__u32 code;
	char text[508];
};

#define STANDIN_PRINT _IOW('S', 1, struct standin_print)
#define STANDIN_XID _IOW('S', 2, struct standin_xid)
#define STANDIN_WAKE _IO('S', 3)

/* 0000:00:01.0, which QEMU's default machine always has. */
#define STANDIN_PCI_SLOT 1

#ifdef __KERNEL__
int standin_control_init(void);
void standin_control_exit(void);
/* Lets every call that blocks come back. */
void standin_wake(void);
#endif

#endif
