//! Against the log of the kernel that the tests run on, both ways. They need root and write to `/dev/kmsg`; each line
//! has the test's own tag. Other programs may print meanwhile.

use std::{
    fs::OpenOptions,
    io::Write as _,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::SystemTime,
};

use super::*;
use crate::event::Origin;

/// One at a time: a test that fills the ring takes the others' lines.
fn alone(test: &str) -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    let why = match OpenOptions::new().write(true).open("/dev/kmsg") {
        Err(error) => format!("cannot write to /dev/kmsg: {error}"),
        Ok(_) => match (Kmsg::open(), Syslog::open()) {
            (Ok(_), Ok(_)) => return Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner)),
            (kmsg, syslog) => format!("cannot read the log: {:?} {:?}", kmsg.err(), syslog.err()),
        },
    };
    println!("skipped: kernel::kernel_log::tests::{test}: {why}");
    None
}

fn by_kmsg() -> KernelLog {
    KernelLog::by(Way::Kmsg(Kmsg::open().expect("open")))
}

fn by_syslog() -> KernelLog {
    KernelLog::by(Way::Syslog(Syslog::open().expect("open")))
}

const WAYS: [fn() -> KernelLog; 2] = [by_kmsg, by_syslog];

/// Each write opens the file anew: the kernel limits the rate of each opening, and not of root. At level 7 a line stays
/// off the console.
fn print(text: &[u8]) {
    let mut device = OpenOptions::new().write(true).open("/dev/kmsg").expect("open");
    let record = [b"<15>", text, b"\n"].concat();
    assert_eq!(device.write(&record).expect("write"), record.len());
}

/// What is new and has the tag, and how many records were lost.
fn read(log: &mut KernelLog, tag: &str) -> (Vec<Line>, u64) {
    let (mut lines, mut lost) = (Vec::new(), 0);
    loop {
        let passed = log
            .read(|line| {
                if line.text.windows(tag.len()).any(|part| part == tag.as_bytes()) {
                    lines.push(line);
                }
            })
            .expect("read");
        lost += passed.lost;
        if !passed.more {
            return (lines, lost);
        }
    }
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| line.text.escape_ascii().to_string()).collect()
}

/// A tag that no other run has.
fn tag(bus: u8) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos();
    format!("test (PCI:0000:{bus:02x}:00) {now:x}")
}

#[test]
fn both_ways_give_what_was_printed() {
    let Some(_alone) = alone("both_ways_give_what_was_printed") else { return };
    let tag = tag(0xd0);
    let mut logs = WAYS.map(|open| open());
    // The past, which may end with anything.
    for log in &mut logs {
        read(log, &tag);
    }
    let long = [b"NVRM: ", tag.as_bytes(), &[b'y'; 900]].concat();
    let strange: Vec<u8> = (1..=255).filter(|byte| *byte != b'\n').collect();
    let printed: Vec<Vec<u8>> = vec![
        format!("NVRM: {tag} \\ \\x41 \\\\x0a").into_bytes(),
        [b"nvidia-nvswitch1: ", tag.as_bytes(), &strange].concat(),
        format!("pcieport 0000:00:01.0: {tag}\nwithout a tag\n  of its own").into_bytes(),
        [long.as_slice(), &[b'z'; 60]].concat(),
        format!("nvidia {tag} [drm] <4>[ 1.000001] NVRM: x").into_bytes(),
    ];
    for text in &printed {
        print(format!("usb 1-1: {tag}").as_bytes());
        print(text);
    }
    for log in &mut logs {
        let (lines, _) = read(log, &tag);
        let got: Vec<_> = lines.iter().map(|line| line.text.to_vec()).collect();
        assert_eq!(got, printed, "{}: {:#?}", log.how(), texts(&lines));
        for line in lines {
            assert_eq!((line.origin, line.cut, line.task), (Origin::User, false, None));
            assert!(line.time <= SystemTime::now());
        }
    }
}

#[test]
fn what_dev_kmsg_has_no_room_for_is_cut_and_says_so() {
    let Some(_alone) = alone("what_dev_kmsg_has_no_room_for_is_cut_and_says_so") else { return };
    let tag = tag(0xd1);
    let mut logs = WAYS.map(|open| open());
    let printed: Vec<Vec<u8>> = (0..16)
        .map(|more| {
            let head = format!("NVRM: {tag} {}", "y".repeat(more));
            [head.as_bytes(), &[0xff; 900], b"END"].concat()
        })
        .collect();
    for text in &printed {
        print(text);
    }
    let [kmsg, syslog] = logs.each_mut().map(|log| read(log, &tag).0);
    assert_eq!(syslog.iter().map(|line| line.text.to_vec()).collect::<Vec<_>>(), printed);
    assert_eq!(kmsg.len(), printed.len());
    for (line, printed) in kmsg.iter().zip(&printed) {
        assert!(printed.starts_with(&line.text), "{}", line.text.escape_ascii());
        assert_eq!(line.cut, line.text.len() < printed.len());
    }
}

#[test]
fn nothing_twice_and_nothing_missing_while_it_is_written() {
    const LINES: usize = 5_000;
    /// As far as the writer may be ahead; a small ring holds several times that.
    const AHEAD: usize = 200;
    let Some(_alone) = alone("nothing_twice_and_nothing_missing_while_it_is_written") else {
        return;
    };
    for open in WAYS {
        let tag = tag(0xd2);
        let mut log = open();
        read(&mut log, &tag);
        let (written, reading): (SyncSender<()>, Receiver<()>) = sync_channel(AHEAD);
        let (mut got, mut reads, mut lost) = (Vec::new(), 0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..LINES {
                    written.send(()).expect("the reader is there");
                    print(format!("NVRM: {tag} {number:04}").as_bytes());
                }
            });
            while got.len() < LINES && lost == 0 {
                let (lines, missing) = read(&mut log, &tag);
                (reads, lost) = (reads + 1, lost + missing);
                for _ in &lines {
                    reading.recv().expect("the writer is there");
                }
                got.extend(texts(&lines));
            }
            // Lets the writer end where lines were lost.
            while got.len() < LINES && reading.recv().is_ok() {
                got.push("lost".to_owned());
            }
        });
        let want: Vec<_> = (0..LINES).map(|number| format!("NVRM: {tag} {number:04}")).collect();
        assert_eq!(lost, 0, "{} after {reads} reads", log.how());
        assert!(got == want, "{} after {reads} reads", log.how());
        assert!(reads > LINES / AHEAD, "{reads}");
        assert_eq!(read(&mut log, &tag), (Vec::new(), 0));
    }
}

#[test]
fn a_later_process_goes_on_where_the_earlier_one_stopped() {
    let Some(_alone) = alone("a_later_process_goes_on_where_the_earlier_one_stopped") else {
        return;
    };
    for (earlier, later) in WAYS.iter().flat_map(|earlier| WAYS.map(|later| (earlier, later))) {
        let tag = tag(0xd3);
        let mut log = earlier();
        print(format!("NVRM: {tag} before").as_bytes());
        assert_eq!(texts(&read(&mut log, &tag).0), [format!("NVRM: {tag} before")]);
        let mark = log.mark().expect("something was read");
        let names = (log.how(), later().how());
        let new: Vec<_> = (0..3).map(|number| format!("nvidia: {tag} {number}")).collect();
        for text in &new {
            print(text.as_bytes());
        }

        let mut log = later();
        log.resume(&mark);
        if names.0 == names.1 {
            assert_eq!(log.mark().as_ref(), Some(&mark));
        }
        let (lines, lost) = read(&mut log, &tag);
        assert_eq!((texts(&lines), lost), (new.clone(), 0), "{names:?}");
        assert_eq!(read(&mut log, &tag), (Vec::new(), 0), "{names:?}");

        // After another boot all of it is new.
        let mut log = later();
        log.resume(&Mark { boot_id: "another".to_owned(), ..mark });
        assert_eq!(read(&mut log, &tag).0.len(), 4, "{names:?}");
        assert_ne!(log.mark().map(|mark| mark.boot_id).as_deref(), Some("another"));
    }
}

#[test]
#[expect(
    deprecated,
    reason = "what comes after it is unsafe, and no sounder with a file that it owns"
)]
fn dev_kmsg_wakes_its_reader() {
    let Some(_alone) = alone("dev_kmsg_wakes_its_reader") else { return };
    let tag = tag(0xd5);
    let mut log = by_kmsg();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("tokio");
    let got = runtime.block_on(async {
        let fd = log.fd().expect("a file").try_clone_to_owned().expect("another");
        let ready = tokio::io::unix::AsyncFd::new(fd).expect("register");
        let mut got = Vec::new();
        for number in 0..3 {
            // To the end, so that it is the next line that wakes.
            ready.readable().await.expect("wait").clear_ready();
            got.extend(read(&mut log, &tag).0);
            print(format!("NVRM: {tag} {number}").as_bytes());
        }
        while got.len() < 3 {
            ready.readable().await.expect("wait").clear_ready();
            got.extend(read(&mut log, &tag).0);
        }
        texts(&got)
    });
    assert_eq!(got, [0, 1, 2].map(|number| format!("NVRM: {tag} {number}")));
}

#[test]
fn what_was_overwritten_is_told_and_the_rest_is_read() {
    let Some(_alone) = alone("what_was_overwritten_is_told_and_the_rest_is_read") else { return };
    let tag = tag(0xd4);
    let mut logs = WAYS.map(|open| open());
    for log in &mut logs {
        read(log, &tag);
    }
    let mark = logs.each_ref().map(|log| log.mark().expect("something was read"));
    let mut written = 0;
    // Until the first of them is gone for both.
    loop {
        for _ in 0..100 {
            print(format!("NVRM: {tag} {} {written:06}", "y".repeat(900)).as_bytes());
            written += 1;
        }
        let first = |open: &fn() -> KernelLog| {
            let (lines, _) = read(&mut open(), &tag);
            lines.first().is_some_and(|line| line.text.ends_with(b" 000000"))
        };
        if !WAYS.iter().any(first) {
            break;
        }
    }
    let resumed = WAYS.iter().zip(mark).map(|(open, mark)| {
        let mut log = open();
        log.resume(&mark);
        log
    });
    let mut logs: Vec<_> = logs.into_iter().chain(resumed).collect();
    for log in &mut logs {
        let (lines, lost) = read(log, &tag);
        assert!(lost > 0, "{}", log.how());
        let number = |line: &Line| line.text[line.text.len() - 6..].escape_ascii().to_string();
        let first: u64 = number(&lines[0]).parse().expect("a number");
        let want: Vec<_> = (first..written).map(|number| format!("{number:06}")).collect();
        assert_eq!(lines.iter().map(number).collect::<Vec<_>>(), want, "{}", log.how());
        // Every record has a number, so that what others wrote meanwhile is among the lost too.
        assert!(log.fd().is_none() || lost >= first, "{lost} {first}");
    }
    print(format!("NVRM: {tag} further").as_bytes());
    for log in &mut logs {
        assert_eq!(texts(&read(log, &tag).0), [format!("NVRM: {tag} further")]);
    }
}

#[test]
fn without_a_right_there_is_a_reason_and_a_remedy() {
    let errors = [libc::ENOENT, libc::EPERM, libc::ENOSYS].map(io::Error::from_raw_os_error);
    let [absent, denied, missing] = errors;
    let State::Unavailable { reason, remedy } = refused(absent, denied).state() else { panic!() };
    assert!(
        reason.contains("/dev/kmsg: No such file") && reason.contains("not permitted"),
        "{reason}"
    );
    assert!(remedy.contains("xid.kernelLog=true"), "{remedy}");
    let denied = io::Error::from_raw_os_error(libc::EPERM);
    let State::Unavailable { remedy, .. } = refused(denied, missing).state() else { panic!() };
    assert!(remedy.contains("CONFIG_PRINTK"), "{remedy}");
}
