//! The fields of every kind of details by name, for whoever shows them.

use super::{
    Aer, AerDriver, AerSeverity, Containment, ContextSwitchTimeout, Details, DoubleBit,
    EccResidual, GraphicsException, GspException, GspNotice, GspTimeout, InitFailure, MemoryKind,
    NvLink5, NvLinkError, PageFault, RecoveryChange, Repair, RepairOutcome, RepairResource,
    SingleBit, SmLocation, Sxid, SxidPart, Text, Uncorrectable, Value,
};

impl<'a> Details<'a> {
    /// Everything that is known, by name, for whoever shows it; what the line does not say is left
    /// out. Names are stable.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value<'a>)> {
        let mut fields = Fields(Vec::new());
        match *self {
            Details::None => {}
            Details::Graphics(details) => fields.graphics(details),
            Details::PageFault(PageFault {
                engine,
                gpc,
                client,
                address,
                fault_type,
                access,
                interrupt,
                engine_mask,
            }) => {
                fields.text("engine", engine);
                fields.number("gpc", gpc);
                fields.text("client", client);
                fields.hex("address", address);
                fields.text("fault_type", fault_type);
                fields.text("access", access);
                fields.hex("interrupt", interrupt);
                fields.hex("engine_mask", engine_mask);
            }
            Details::DoubleBit(DoubleBit { location, address, partition, subpartition }) => {
                fields.text("location", location);
                fields.hex("address", address);
                fields.number("partition", partition);
                fields.number("subpartition", subpartition);
            }
            Details::Repair(Repair { resource, outcome, address, unit, parent, reason }) => {
                fields.word("resource", resource.name());
                fields.word("outcome", outcome.name());
                fields.hex("address", address);
                fields.number("unit", unit);
                fields.number("parent", parent);
                fields.text("reason", reason);
            }
            Details::NvLink(NvLinkError { link, fatal, registers }) => {
                fields.number("link", Some(link));
                fields.flag("fatal", Some(fatal));
                fields.words("registers", registers.iter().flatten().copied());
            }
            Details::SingleBit(SingleBit { memory, partition }) => {
                fields.word("memory", memory.name());
                fields.number("partition", partition);
            }
            Details::Containment(Containment { contained, unit, location, reset, drain_reset }) => {
                fields.flag("contained", Some(contained));
                fields.text("unit", Some(unit));
                fields.words("location", location.into_iter().flatten());
                fields.flag("reset", reset);
                fields.flag("drain_reset", drain_reset);
            }
            Details::ContextSwitchTimeout(ContextSwitchTimeout { info }) => {
                fields.hex("info", info);
            }
            Details::GspTimeout(GspTimeout {
                waited_seconds,
                gpu_index,
                function,
                function_name,
                command,
                parameter_bytes,
            }) => {
                fields.number("waited_seconds", waited_seconds);
                fields.number("gpu_index", gpu_index);
                fields.number("function", function);
                fields.text("function_name", function_name);
                fields.hex("command", command);
                fields.number("parameter_bytes", parameter_bytes);
            }
            Details::GspException(GspException { reason, cause, program_counter, task }) => {
                fields.text("reason", Some(reason));
                fields.hex("cause", cause);
                fields.hex("program_counter", program_counter);
                fields.number("task", task);
            }
            Details::EccResidual(EccResidual { dram, ltc, mmu, pcie }) => {
                fields.number("dram", dram);
                fields.number("ltc", ltc);
                fields.number("mmu", mmu);
                fields.number("pcie", pcie);
            }
            Details::NvLink5(NvLink5 {
                unit,
                fatal,
                xc,
                injected,
                link,
                intr_info,
                error_status,
                debug,
            }) => {
                fields.text("unit", Some(unit));
                fields.flag("fatal", Some(fatal));
                fields.flag("xc", xc);
                fields.flag("injected", injected);
                fields.number("link", link);
                fields.hex("intr_info", intr_info);
                fields.hex("error_status", error_status);
                fields.words("debug", debug.into_iter().flatten());
            }
            Details::Recovery(RecoveryChange { from, to, to_label }) => {
                fields.number("from", Some(from.number()));
                fields.word("from_action", from.name());
                fields.number("to", Some(to.number()));
                fields.word("to_action", to.name());
                fields.text("to_label", to_label);
            }
            Details::Uncorrectable(Uncorrectable { memory, unit, location, address }) => {
                fields.word("memory", memory.name());
                fields.text("unit", unit);
                fields.location(location);
                fields.hex("address", address);
            }
            Details::Sxid(details) => fields.sxid(details),
            Details::Init(InitFailure { stage, status, line, minor }) => {
                fields.hex("stage", stage);
                fields.hex("status", status);
                fields.number("line", line);
                fields.number("minor", minor);
            }
            Details::Gsp(notice) => fields.gsp(notice),
            Details::Aer(details) => fields.aer(details),
        }
        fields.0
    }
}

/// Collects what is there.
struct Fields<'a>(Vec<(&'static str, Value<'a>)>);

impl<'a> Fields<'a> {
    fn number(&mut self, name: &'static str, value: Option<impl Into<i64>>) {
        self.0.extend(value.map(|value| (name, Value::Number(value.into()))));
    }

    fn hex(&mut self, name: &'static str, value: Option<impl Into<u64>>) {
        self.0.extend(value.map(|value| (name, Value::Hex(value.into()))));
    }

    fn flag(&mut self, name: &'static str, value: Option<bool>) {
        self.0.extend(value.map(|value| (name, Value::Flag(value))));
    }

    fn word(&mut self, name: &'static str, value: &'static str) {
        self.0.push((name, Value::Word(value)));
    }

    fn text(&mut self, name: &'static str, value: Option<Text<'a>>) {
        self.0.extend(value.map(|value| (name, Value::Text(value))));
    }

    fn words(&mut self, name: &'static str, values: impl IntoIterator<Item = u32>) {
        let values: Vec<_> = values.into_iter().map(u64::from).collect();
        if !values.is_empty() {
            self.0.push((name, Value::Words(values)));
        }
    }

    fn location(&mut self, location: Option<SmLocation>) {
        if let Some(SmLocation { gpc, tpc, sm }) = location {
            self.number("gpc", Some(gpc));
            self.number("tpc", tpc);
            self.number("sm", sm);
        }
    }

    fn graphics(&mut self, details: GraphicsException<'a>) {
        let GraphicsException { location, reason, registers, class, offset, data, error_code } =
            details;
        self.location(location);
        self.text("reason", reason);
        self.words(
            "register_addresses",
            registers.into_iter().flatten().map(|(address, _)| address),
        );
        self.words("register_values", registers.into_iter().flatten().map(|(_, value)| value));
        self.hex("class", class);
        self.hex("offset", offset);
        self.hex("data", data);
        self.hex("error_code", error_code);
    }

    fn sxid(&mut self, details: Sxid) {
        let Sxid { switch, severity, part } = details;
        self.number("switch", switch);
        if let Some(severity) = severity {
            self.word("severity", severity.name());
        }
        match part {
            SxidPart::Report => self.word("part", "report"),
            SxidPart::Source { engine, sub_engine } => {
                self.word("part", "source");
                self.number("engine", engine);
                self.number("sub_engine", sub_engine);
            }
            SxidPart::Data { words } => {
                self.word("part", "data");
                self.words("data", words.into_iter().flatten());
            }
        }
    }

    fn gsp(&mut self, notice: GspNotice) {
        match notice {
            GspNotice::RateLimited { every } => {
                self.word("notice", "rate_limited");
                self.number("every", every);
            }
            GspNotice::HeartbeatLost { gpu_index, overdue_ms } => {
                self.word("notice", "heartbeat_lost");
                self.number("gpu_index", gpu_index);
                self.number("overdue_ms", overdue_ms);
            }
            GspNotice::PmuHalted { gpu_index } => {
                self.word("notice", "pmu_halted");
                self.number("gpu_index", gpu_index);
            }
        }
    }

    fn aer(&mut self, details: Aer<'a>) {
        let Aer {
            driver,
            severity,
            layer,
            source,
            device_id,
            status,
            mask,
            bit,
            error,
            recovery_failed,
        } = details;
        self.word("driver", driver.name());
        if let Some(severity) = severity {
            self.word("severity", severity.name());
        }
        self.text("layer", layer);
        self.0.extend(source.map(|source| ("source", Value::Pci(source))));
        if let Some((vendor, device)) = device_id {
            self.hex("vendor_id", Some(vendor));
            self.hex("device_id", Some(device));
        }
        self.hex("status", status);
        self.hex("mask", mask);
        self.number("bit", bit);
        self.text("error", error);
        self.flag("recovery_failed", recovery_failed.then_some(true));
    }
}

macro_rules! names {
    ($($type:ident { $($variant:ident = $name:literal),* $(,)? })*) => {$(
        impl $type {
            /// Its name in answers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    )*};
}

names! {
    RepairResource {
        Row = "row", Page = "page", Bank = "bank", Dram = "dram", Channel = "channel", L2Slice = "l2_slice", Tpc = "tpc",
    }
    RepairOutcome { Pending = "pending", Failed = "failed" }
    MemoryKind { Dram = "dram", Sram = "sram" }
    AerDriver { Nvidia = "nvidia", PciePort = "pcieport", VfioPci = "vfio-pci", Unbound = "none" }
    AerSeverity { Correctable = "correctable", NonFatal = "non-fatal", Fatal = "fatal" }
}
