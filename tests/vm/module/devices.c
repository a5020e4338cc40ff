// SPDX-License-Identifier: GPL-2.0
/*
 * The character devices of the NVIDIA driver without a GPU behind them: they open, close, and do on an ioctl what its
 * number asks for (standin.h). For the tests in a virtual machine only.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "standin.h"

static bool older;
module_param(older, bool, 0444);
MODULE_PARM_DESC(older, "name the major as drivers up to 545 do");

static DECLARE_WAIT_QUEUE_HEAD(sleepers);
static atomic_t wakes = ATOMIC_INIT(0);

void standin_wake(void)
{
	atomic_inc(&wakes);
	wake_up_all(&sleepers);
}

/* Does what the number asks for; what is to be the parameters' status goes to *status. */
static long behave(u32 number, u32 *status)
{
	u32 argument = STANDIN_ARGUMENT(number);
	int seen = atomic_read(&wakes);

	*status = 0;
	if ((number & 0xffff0000) != STANDIN_BEHAVES)
		return 0;
	switch (STANDIN_WHAT(number)) {
	case STANDIN_FAIL:
		return -(long)argument;
	case STANDIN_STATUS:
		*status = argument;
		return 0;
	case STANDIN_SLEEP:
		msleep(argument * 100);
		return 0;
	case STANDIN_BLOCK:
		return wait_event_killable(sleepers, atomic_read(&wakes) != seen);
	}
	return -EINVAL;
}

static int nv_open(struct inode *inode, struct file *file)
{
	return iminor(inode) == NV_MINOR_BROKEN ? -EIO : 0;
}

static int other_open(struct inode *inode, struct file *file)
{
	return 0;
}

/* The driver has one, and so the kernel's path on close is the same. */
static int release(struct inode *inode, struct file *file)
{
	return 0;
}

static long nv_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct nv_rm_control __user *user = (void __user *)argument;
	struct nv_rm_control control;
	long result;

	if (_IOC_TYPE(request) != NV_IOCTL_MAGIC)
		return -EINVAL;
	if (_IOC_NR(request) != NV_ESC_RM_CONTROL)
		return 0;
	if (_IOC_SIZE(request) != sizeof(control))
		return -EINVAL;
	if (copy_from_user(&control, user, sizeof(control)))
		return -EFAULT;
	result = behave(control.command, &control.status);
	if (copy_to_user(user, &control, sizeof(control)))
		return -EFAULT;
	return result;
}

static long uvm_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	u32 status;

	return behave(request, &status);
}

static const struct file_operations nv_operations = {
	.owner = THIS_MODULE,
	.open = nv_open,
	.release = release,
	.unlocked_ioctl = nv_ioctl,
	.compat_ioctl = nv_ioctl,
};

static const struct file_operations uvm_operations = {
	.owner = THIS_MODULE,
	.open = other_open,
	.release = release,
	.unlocked_ioctl = uvm_ioctl,
};

static const struct file_operations caps_operations = {
	.owner = THIS_MODULE,
	.open = other_open,
	.release = release,
};

/* What is registered, in order; the first entry is for drivers that have one name for all of 195, the next three for today's. */
static struct {
	unsigned int major, minor, count;
	const char *name;
	const struct file_operations *operations;
	bool registered;
} regions[] = {
	{ NV_MAJOR, 0, 256, "nvidia-frontend", &nv_operations },
	{ NV_MAJOR, 0, NV_MINOR_GPU_COUNT, "nvidia", &nv_operations },
	{ NV_MAJOR, NV_MINOR_MODESET, 1, "nvidia-modeset", &nv_operations },
	{ NV_MAJOR, NV_MINOR_CONTROL, 1, "nvidiactl", &nv_operations },
	{ 0, 0, 2, "nvidia-uvm", &uvm_operations },
	{ 0, 0, 3, "nvidia-caps", &caps_operations },
};

static void unregister(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(regions); i++) {
		if (regions[i].registered)
			__unregister_chrdev(regions[i].major, regions[i].minor, regions[i].count, regions[i].name);
		regions[i].registered = false;
	}
}

static int __init standin_init(void)
{
	int i, error;

	for (i = 0; i < ARRAY_SIZE(regions); i++) {
		if (i < 4 && older != (i == 0))
			continue;
		error = __register_chrdev(regions[i].major, regions[i].minor, regions[i].count, regions[i].name,
					  regions[i].operations);
		if (error < 0)
			goto failed;
		/* Of a major that was asked for, nothing is returned. */
		if (error > 0)
			regions[i].major = error;
		regions[i].registered = true;
	}
	error = standin_control_init();
	if (!error)
		return 0;
failed:
	unregister();
	return error;
}

static void __exit standin_exit(void)
{
	standin_control_exit();
	unregister();
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stand-in for the NVIDIA driver, for tests");
