//! The tables of `agent/data/`, and that what is read finds its row there.

use super::*;

#[test]
fn every_complete_nvlink5_line_has_one_rule_and_one_layout() {
    let mut complete = 0;
    for line in lines("nvlink5") {
        let fault = parse(&line).unwrap();
        let Details::NvLink5(error) = fault.details else { panic!("{}", line.escape_ascii()) };
        if error.error_status.is_none() {
            assert_eq!(nvlink5::decode(fault.code.unwrap(), &error), None);
            continue;
        }
        complete += 1;
        let fits: Vec<_> = nvlink5::rules()
            .iter()
            .filter(|rule| Some(rule.code) == fault.code)
            .flat_map(|rule| {
                [(rule, rule.v1, nvlink5::Layout::V1), (rule, rule.v2, nvlink5::Layout::V2)]
            })
            .filter(|(rule, pattern, _)| {
                error.intr_info.unwrap() & pattern.mask == pattern.value
                    && rule.has_status(error.error_status.unwrap())
            })
            .map(|(rule, _, layout)| (rule, layout))
            .collect();
        assert_eq!(fits.len(), 1, "{}: {fits:?}", line.escape_ascii());
        assert_eq!(nvlink5::decode(fault.code.unwrap(), &error), Some(fits[0]));
    }
    assert!(complete >= 11, "{complete}");
}

#[test]
fn data_files_are_read_whole() {
    let rows =
        |text: &str| text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(catalogue::entries().len(), rows(include_str!("../../../data/xid.tsv")));
    assert_eq!(catalogue::sxid_entries().len(), rows(include_str!("../../../data/sxid.tsv")));
    assert_eq!(nvlink5::rules().len(), rows(include_str!("../../../data/nvlink5.tsv")));
    assert_eq!(workflow::all().len(), rows(include_str!("../../../data/workflows.tsv")));
    assert_eq!(
        (catalogue::entries().len(), catalogue::sxid_entries().len(), nvlink5::rules().len()),
        (177, 93, 95)
    );
    assert!(catalogue::entries().is_sorted_by(|a, b| a.code < b.code));
    assert!(catalogue::sxid_entries().is_sorted_by(|a, b| a.code < b.code));
    for line in include_str!("../../../data/xid.tsv").lines().filter(|line| !line.starts_with('#'))
    {
        let fields: Vec<_> = line.split('\t').collect();
        for action in &fields[4..6] {
            assert!(action.is_empty() || Action::from_name(action).is_some(), "{line}");
        }
    }
    for rule in nvlink5::rules() {
        assert!(rule.immediate.is_some() && rule.investigatory.is_some(), "{rule:?}");
    }
    for line in
        include_str!("../../../data/nvlink.tsv").lines().filter(|line| !line.starts_with('#'))
    {
        let class = line.rsplit('\t').next().unwrap();
        assert!(BitClass::from_name(class).is_some(), "{line}");
    }
    for text in
        [include_str!("../../../data/nvlink5.tsv"), include_str!("../../../data/workflows.tsv")]
    {
        assert!(!text.lines().any(|line| line.ends_with(' ')));
    }
}

#[test]
fn the_catalogue_says_what_nvidia_says() {
    let known = |code| catalogue::lookup(code).unwrap();
    let check = |code, immediate, severity| {
        assert_eq!(
            (known(code).immediate, known(code).severity),
            (Some(immediate), severity),
            "{code}"
        );
    };
    check(13, Action::RestartApp, Severity::Error);
    check(43, Action::Ignore, Severity::Info);
    check(45, Action::WorkflowXid45, Severity::Info);
    check(48, Action::WorkflowXid48, Severity::Critical);
    check(63, Action::Ignore, Severity::Info);
    check(64, Action::ResetGpu, Severity::Critical);
    check(74, Action::WorkflowNvlinkErr, Severity::Critical);
    check(79, Action::RestartBm, Severity::Fatal);
    check(94, Action::RestartApp, Severity::Error);
    check(109, Action::ResetGpu, Severity::Critical);
    check(151, Action::RestartVm, Severity::Fatal);
    assert_eq!(known(79).mnemonic, "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS");
    assert_eq!(known(51).usage, catalogue::Usage::Unused);
    assert_eq!(known(173).usage, catalogue::Usage::HeaderOnly);
    assert_eq!(known(162).severity_rule, SeverityRule::Ours);
    assert_eq!(known(149).xid154_since, Some("R565"));
    assert_eq!(catalogue::lookup(0), None);
    assert_eq!(catalogue::lookup(178), None);
    for entry in catalogue::entries() {
        let described = entry.usage == catalogue::Usage::Unused || entry.meaning.is_some();
        assert!(described && !entry.mnemonic.is_empty(), "{entry:?}");
        assert!(
            entry.immediate.is_some() || entry.severity_rule == SeverityRule::Ours,
            "{entry:?}"
        );
    }
}

#[test]
fn a_workflow_has_steps_and_a_plain_action_has_none() {
    use Action::*;
    for workflow in
        [WorkflowXid13, WorkflowXid31, WorkflowXid45, WorkflowXid48, WorkflowNvlinkErr, Xid154]
    {
        assert!(workflow::steps(workflow).len() >= 3, "{}", workflow.name());
    }
    assert_eq!(workflow::steps(ResetGpu), []);
    assert_eq!(workflow::steps(WorkflowXid48)[0].action, Some(DrainAndReset));
    for action in Action::ALL {
        assert_eq!(Action::from_name(action.name()), Some(*action));
        assert!(action.plain().ends_with('.'), "{}", action.name());
    }
}

#[test]
fn registers_of_an_xid_74_are_explained() {
    let line = b"NVRM: Xid (PCI:0003:00:00): 74, NVLink: fatal error detected on link 14(0x20, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x1)";
    let Details::NvLink(error) = parse(line).unwrap().details else { panic!() };
    let bits: Vec<_> = error.hopper_bits().map(|bit| (bit.register, bit.bit, bit.class)).collect();
    assert_eq!(
        bits,
        [(1, 5, BitClass::Ecc), (3, 16, BitClass::RepeatedDiag), (7, 0, BitClass::Report)]
    );
}

#[test]
fn the_recovery_actions_are_nvidias() {
    // NVML_GPU_RECOVERY_ACTION_* of nvidia-ml-py 13.615.
    let known = [
        ("none", "IGNORE"),
        ("gpu_reset", "RESET_GPU"),
        ("node_reboot", "RESTART_BM"),
        ("drain_p2p", "DRAIN_P2P"),
        ("drain_and_reset", "DRAIN_AND_RESET"),
        ("imex_domain", "RESET_FABRIC"),
        ("bus_reset", "RESET_GPU"),
        ("system_reboot", "RESTART_BM"),
        ("unknown", "XID_154"),
    ];
    for (number, expected) in (0..).zip(known) {
        let action = RecoveryAction::from_number(number);
        assert_eq!((action.name(), action.action().name()), expected);
        assert_eq!(action.number(), number);
    }
}
