// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/standin: has the module print a line from a context of one's choice, fire the driver's tracepoint, and wake the
 * calls that block.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "standin.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

/* One line at a time. */
static DEFINE_MUTEX(one);
static DECLARE_COMPLETION(printed);
static const char *text;
static bool in_its_context;

/* Without a level of its own, as the driver prints. */
static void print(bool in_context)
{
	in_its_context = in_context;
	printk("%s\n", text);
	complete(&printed);
}

static void by_interrupt(struct irq_work *work)
{
	print(hardirq_count() != 0);
}

static void by_softirq(struct tasklet_struct *tasklet)
{
	print(in_serving_softirq() && hardirq_count() == 0);
}

static void by_workqueue(struct work_struct *work)
{
	print(in_task() && (current->flags & PF_WQ_WORKER));
}

static struct irq_work interrupt;
static DECLARE_TASKLET(softirq, by_softirq);
static DECLARE_WORK(work, by_workqueue);

static long print_from(u32 context)
{
	reinit_completion(&printed);
	switch (context) {
	case STANDIN_PROCESS:
		print(in_task());
		break;
	case STANDIN_INTERRUPT:
		irq_work_queue(&interrupt);
		break;
	case STANDIN_SOFTIRQ:
		/* It runs as this is enabled again, in this task and on the stack of interrupts, as after a device's interrupt. */
		local_bh_disable();
		tasklet_schedule(&softirq);
		local_bh_enable();
		break;
	case STANDIN_WORKQUEUE:
		schedule_work(&work);
		break;
	default:
		return -EINVAL;
	}
	wait_for_completion(&printed);
	return in_its_context ? 0 : -EPROTO;
}

static long fire(const struct standin_xid *xid)
{
	struct pci_dev *device = pci_get_domain_bus_and_slot(0, 0, PCI_DEVFN(STANDIN_PCI_SLOT, 0));

	if (!device)
		return -ENODEV;
	trace_nvidia_dev_xid(device, xid->code, xid->text);
	pci_dev_put(device);
	return 0;
}

static long ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct standin_print *asked;
	long result;

	/* Both requests that have parameters have them of one shape: a number and a text. */
	BUILD_BUG_ON(sizeof(struct standin_print) != sizeof(struct standin_xid));
	if (request == STANDIN_WAKE) {
		standin_wake();
		return 0;
	}
	if (request != STANDIN_PRINT && request != STANDIN_XID)
		return -ENOTTY;
	asked = memdup_user((void __user *)argument, sizeof(*asked));
	if (IS_ERR(asked))
		return PTR_ERR(asked);
	asked->text[sizeof(asked->text) - 1] = '\0';
	mutex_lock(&one);
	text = asked->text;
	result = request == STANDIN_PRINT ? print_from(asked->context) : fire((struct standin_xid *)asked);
	mutex_unlock(&one);
	kfree(asked);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ioctl,
};

static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "standin",
	.fops = &operations,
};

int standin_control_init(void)
{
	init_irq_work(&interrupt, by_interrupt);
	return misc_register(&control);
}

void standin_control_exit(void)
{
	misc_deregister(&control);
	irq_work_sync(&interrupt);
	tasklet_kill(&softirq);
	cancel_work_sync(&work);
}
