/* SPDX-License-Identifier: GPL-2.0 */
/* The tracepoint of the open kernel modules from 575.51.02 on: the same name and the same arguments. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM nvidia

#if !defined(STANDIN_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define STANDIN_TRACE_H

#include <linux/pci.h>
#include <linux/tracepoint.h>

TRACE_EVENT(nvidia_dev_xid,
	TP_PROTO(const struct pci_dev *pdev, uint32_t error_code, const char *msg),
	TP_ARGS(pdev, error_code, msg),
	/* An array of a fixed size, because the macros for strings are not the same in all kernels. */
	TP_STRUCT__entry(
		__array(char, device, 24)
		__field(u32, error_code)
		__array(char, message, 128)
	),
	TP_fast_assign(
		strscpy(__entry->device, pci_name(pdev), sizeof(__entry->device));
		__entry->error_code = error_code;
		strscpy(__entry->message, msg, sizeof(__entry->message));
	),
	TP_printk("Xid %s: %u, %s", __entry->device, __entry->error_code, __entry->message)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
