//! What NVIDIA says to do, and how bad a fault is.

/// How soon somebody has to act, from nothing to do to a node that has to go down. Ordered.
///
/// NVIDIA publishes no severity for Xids. This one follows from the action that NVIDIA's catalogue
/// names for at once ([`Action::severity`]), so that it says what a fault costs and not how its
/// name sounds. Where the catalogue has no action for a number, the data file has this project's
/// own judgement and [`SeverityRule`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing to do now. A note, or a consequence of something else that is told by itself.
    Info,
    /// Worth a look; nothing has to stop.
    Warning,
    /// Work was lost or somebody has to look, and the GPU can go on.
    Error,
    /// The GPU has to be reset before it can be relied on.
    Critical,
    /// The node or the virtual machine has to be restarted.
    Fatal,
}

impl Severity {
    /// Its name in arguments and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
        }
    }

    /// By [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Error, Self::Critical, Self::Fatal]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

/// Where a [`Severity`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeverityRule {
    /// From the action NVIDIA names for at once.
    NvidiaAction,
    /// From the class NVIDIA gives: NVLink5 rules and SXids have one.
    NvidiaClass,
    /// From what the line itself says: a recovery action's number, `Fatal`, what it was caused by.
    Line,
    /// NVIDIA gives neither: this project's judgement.
    Ours,
}

impl SeverityRule {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NvidiaAction => "nvidia_action",
            Self::NvidiaClass => "nvidia_class",
            Self::Line => "line",
            Self::Ours => "ours",
        }
    }
}

/// When a GPU can be reset: `nvidia-smi` refuses while any process has it open.
macro_rules! once_closed {
    () => {
        "once nothing has it open, monitoring such as this agent's pod and DCGM included"
    };
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $severity:ident, $plain:expr;)*) => {
        /// NVIDIA's resolution buckets, and the recovery actions of Xid 154 that are not among
        /// them.
        ///
        /// [`Self::name`] is NVIDIA's own word, [`Self::plain`] what it means for whoever runs the
        /// node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* #[doc = concat!("`", $name, "`: ", $plain)] $variant,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// NVIDIA's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence for the operator.
            #[must_use]
            pub fn plain(self) -> &'static str {
                match self { $(Self::$variant => $plain,)* }
            }

            /// How bad a fault is that asks for this at once.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

actions! {
    Ignore = "IGNORE", Info,
        "Nothing has to be done.";
    RestartApp = "RESTART_APP", Error,
        "Restart the application that was hit; the GPU can go on.";
    ResetGpu = "RESET_GPU", Critical,
        concat!("End all work on the GPU and reset it (nvidia-smi --gpu-reset) ", once_closed!(), "; or reboot the node.");
    RestartBm = "RESTART_BM", Fatal,
        "Drain the node and reboot it; where that does not help, take its power away.";
    RestartVm = "RESTART_VM", Fatal,
        "Restart the virtual machine that has the GPU.";
    RestartFm = "RESTART_FM", Warning,
        "Restart the Fabric Manager, if nothing else explains the error.";
    ContactSupport = "CONTACT_SUPPORT", Error,
        "If it comes again, collect nvidia-bug-report.sh and ask the vendor.";
    CheckMechanicals = "CHECK_MECHANICALS", Critical,
        "Check the board's power connectors and seating.";
    UpdateSwfw = "UPDATE_SWFW", Warning,
        "Bring driver and firmware to versions that fit together.";
    CheckUvm = "CHECK_UVM", Warning,
        "Look for what the CPU's memory driver reports at the same time, and follow that.";
    CheckAppCuda = "CHECK_APP/CUDA", Error,
        "Look for the fault in the application: compute-sanitizer or cuda-gdb finds it.";
    InvestigateSw = "INVESTIGATE_SW", Warning,
        "Look for the fault in the software: driver and firmware versions and their release notes.";
    InvestigateSwUser = "INVESTIGATE_SW_USER", Warning,
        "See whether software or an operator took the link down on purpose.";
    InvestigateLinkSi = "INVESTIGATE_LINK_SI", Warning,
        "Check the link's signal quality: error counters, then connectors and boards.";
    InvestigateLinkSiAndCables = "INVESTIGATE_LINK_SI_AND_CABLES", Warning,
        "Check the link's signal quality, cables and connectors.";
    InvestigateSwUserLinkSi = "INVESTIGATE_SW_USER_LINK_SI", Warning,
        "See whether the link was taken down on purpose; if not, check its signal quality.";
    InvestigatePeerDevice = "INVESTIGATE_PEER_DEVICE", Warning,
        "Look at the device at the link's other end: the fault is there.";
    InvestigateHost = "INVESTIGATE_HOST", Warning,
        "Look for the fault in the host.";
    SympatheticReportSolo = "SYMPATHETIC_REPORT_SOLO", Warning,
        "Follow the other errors of the same moment; if it comes alone, report it to NVIDIA.";
    ReportIssue = "REPORT_ISSUE", Warning,
        "If it is seen more than once a day, report it to NVIDIA.";
    CheckNvlinkFailureFlow = "CHECK_NVLINK_FAILURE_FLOW", Warning,
        "Look for an NVLink failure of the same moment and follow that.";
    Xid137Flow = "XID_137_FLOW", Warning,
        "Look for the fault in the application that accesses a peer's memory: compute-sanitizer finds it.";
    WorkflowXid13 = "WORKFLOW_XID_13", Error,
        "See whether the same part of the chip fails again; if so test the hardware, if not the application.";
    WorkflowXid31 = "WORKFLOW_XID_31", Error,
        "See whether other applications fault on this GPU too; if so test the hardware, if not the application.";
    WorkflowXid45 = "WORKFLOW_XID_45", Info,
        "Follow the Xid before it; if there is none, restart the Fabric Manager.";
    WorkflowXid48 = "WORKFLOW_XID_48", Critical,
        "Reset the GPU; with an Xid 63 or 64, drain it first.";
    WorkflowNvlinkErr = "WORKFLOW_NVLINK_ERR", Critical,
        "Reset the GPU and read the registers in the line for what to look into.";
    WorkflowNvlink5Err = "WORKFLOW_NVLINK5_ERR", Critical,
        "The registers in the line decide; without them take it for a GPU reset.";
    Xid154 = "XID_154", Error,
        "The action that the line names.";
    Xid154Eval = "XID_154_EVAL", Error,
        "If an Xid 154 goes with it, do what that says; if not, restart the application.";
    DrainP2p = "DRAIN_P2P", Error,
        "End all work that uses this GPU's NVLinks to its peers.";
    DrainAndReset = "DRAIN_AND_RESET", Critical,
        concat!("Start nothing new on the GPU, let what runs end, then reset it ", once_closed!(), ".");
    ResetFabric = "RESET_FABRIC", Fatal,
        "Act on the whole NVLink domain: stop its work, then reset GPUs and switches together.";
}

impl Action {
    /// By NVIDIA's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }
}
