//! What is to be said of one line or a few.

use super::*;

#[test]
fn an_xid_without_a_line_is_read_like_one_with() {
    let line = parse(b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name=a, Ch 00000008").unwrap();
    assert_eq!(Fault::of_xid(line.pci, 43, b"pid=1, name=a, Ch 00000008\n"), line);
    assert_eq!(assess(&Fault::of_xid(None, 79, b"")).immediate, Some(Action::RestartBm));
}

#[test]
fn a_head_waits_only_so_long() {
    let mut combiner = Combiner::default();
    combiner.feed(b"NVRM: The NVIDIA GPU 0000:b3:00.0");
    for _ in 0..Combiner::REACH {
        combiner.feed(b"something else");
    }
    let end = b"NVRM: fallen off the bus and is not responding to commands.";
    let fault = combiner.feed(end).unwrap();
    assert_eq!((fault.kind, fault.pci), (Kind::BusLoss, None));
}

#[test]
fn a_process_cannot_pass_for_the_kernel() {
    for line in [
        &b"12,1,1,-;4,2,2,-;NVRM: Xid (PCI:0000:3b:00): 79, x"[..],
        b"<12>[ 1.0] <4>NVRM: Xid (PCI:0000:3b:00): 79, x",
        b"user  :warn  : [ 1.0] kern  :warn  : NVRM: Xid (PCI:0000:3b:00): 79, x",
    ] {
        assert_eq!(parse(line).unwrap().origin, Origin::User, "{}", line.escape_ascii());
    }
}

#[test]
fn a_port_concerns_whom_it_is_above() {
    let port =
        parse(b"pcieport 0000:3a:01.0: AER: Correctable error message received from 0000:3b:00.0")
            .unwrap();
    let gpu = PciAddress::parse(b"0000:3b:00.0").unwrap();
    assert!(port.concerns(|address| address == gpu));
    assert!(!port.concerns(|_| false));
    assert!(
        parse(b"nvidia 0000:3b:00.0: AER: aer_status: 0x00000001").unwrap().concerns(|_| false)
    );
    assert!(parse(b"NVRM: Xid (PCI:0000:3b:00): 79, x").unwrap().concerns(|_| false));
}

#[test]
fn addresses_are_read_in_every_form() {
    let check = |text: &[u8], want: Option<&str>| {
        let got = PciAddress::parse(text).map(|address| address.to_string());
        assert_eq!(got.as_deref(), want, "{}", text.escape_ascii());
    };
    check(b"0000:3b:00.0", Some("0000:3b:00.0"));
    check(b"0000:3B:00", Some("0000:3b:00.0"));
    check(b"00000008:01:00.0", Some("0008:01:00.0"));
    check(b"10000:01:00.1", Some("10000:01:00.1"));
    for wrong in [
        &b""[..],
        b"3b:00.0",
        b"0000:3b:00.",
        b"0000:3b:00.0x",
        b"0000:3bb:00.0",
        b"000000000:3b:00.0",
        b"0000::00.0",
    ] {
        check(wrong, None);
    }
}

#[test]
fn what_a_tenant_writes_is_shown_as_one_harmless_line() {
    let line =
        b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name=a\x1b[31m\xff\0b\xe2\x80\xae, Ch 00000008";
    let fault = parse(line).unwrap();
    assert_eq!(fault.process.name.unwrap().to_string(), r"a\u{1b}[31m\xff\u{0}b\u{202e}");
    assert_eq!(fault.channel, Some(8));
    let long =
        [&b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name="[..], &[b'x'; 5000], b", Ch 00000008"]
            .concat();
    assert_eq!(parse(&long).unwrap().process.name.unwrap().as_bytes().len(), Text::MAX_NAME);
}

#[test]
fn long_and_broken_lines_are_read_as_far_as_they_go() {
    let mut megabyte = b"[ 1.0] NVRM: Xid (PCI:0000:3b:00): 79, ".to_vec();
    megabyte.resize(1 << 20, b'x');
    let fault = parse(&megabyte).unwrap();
    assert_eq!((fault.code, fault.message.as_bytes().len()), (Some(79), Text::MAX_MESSAGE));
    assert_eq!(parse(&vec![b' '; 1 << 20]), None);
    assert_eq!(parse(&vec![0; 1 << 20]), None);
    assert_eq!(parse(&[0xff; 64]), None);
    // A line that ends anywhere is an event as soon as its number is whole.
    let line = b"[ 1.0] NVRM: Xid (PCI:0000:3b:00): 94, pid=1, name=a, Contained: SM (0x1). RST: No, D-RST: No";
    for end in 0..line.len() {
        let whole = end > 36;
        let code = parse(&line[..end]).and_then(|fault| fault.code);
        assert!(
            if whole { code == Some(94) } else { code.is_none() || code == Some(9) },
            "{end}: {code:?}"
        );
    }
}
