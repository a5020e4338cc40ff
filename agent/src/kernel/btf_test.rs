use std::{fs, io::Cursor, process::Command};

use super::*;

const fn member(of: &'static str, member: &'static str) -> Wanted {
    Wanted { of, member: Some(member) }
}

const fn size(of: &'static str) -> Wanted {
    Wanted { of, member: None }
}

/// Type information made by hand.
#[derive(Default)]
struct Made {
    types: Vec<u8>,
    names: Vec<u8>,
}

impl Made {
    fn name(&mut self, name: &str) -> u32 {
        if self.names.is_empty() {
            self.names.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let place = u32::try_from(self.names.len()).unwrap();
        self.names.extend(name.bytes().chain([0]));
        place
    }

    fn numbers(&mut self, numbers: &[u32]) -> &mut Self {
        self.types.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        self
    }

    /// A structure with members of name, type and place in bits.
    fn structure(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) {
        let (name, count) = (self.name(name), u32::try_from(members.len()).unwrap());
        self.numbers(&[name, kind << 24 | count, size]);
        for (name, kind, bits) in members {
            let name = self.name(name);
            self.numbers(&[name, *kind, *bits]);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let (types, names) = (length(&self.types), length(&self.names));
        let header = [0x0001_eb9f, 24, 0, types, types, names];
        let header = header.into_iter().flat_map(u32::to_ne_bytes);
        header.chain(self.types.iter().copied()).chain(self.names.iter().copied()).collect()
    }
}

/// 1 int, 2 inner (nameless), 3 outer, 4 function prototype, 5 innermost (nameless), 6 with bit fields, 7 forward.
fn made() -> Made {
    let mut made = Made::default();
    made.numbers(&[0, 1 << 24, 4, 0]);
    made.structure(KIND_UNION, "", 16, &[("first", 1, 0), ("", 5, 64)]);
    made.structure(KIND_STRUCT, "outer", 48, &[("head", 1, 0), ("", 2, 128), ("tail", 1, 320)]);
    made.numbers(&[0, 13 << 24 | 2, 1, 0, 1, 0, 1]);
    made.structure(KIND_STRUCT, "", 8, &[("deep", 1, 32)]);
    let flags = 1 << 7 | KIND_STRUCT;
    made.structure(flags, "bits", 8, &[("wide", 1, 3 << 24), ("after", 1, 32)]);
    made.numbers(&[1, 7 << 24, 0]);
    made
}

const WANTED: [Wanted; 9] = [
    size("outer"),
    member("outer", "head"),
    member("outer", "tail"),
    member("outer", "first"),
    member("outer", "deep"),
    member("bits", "after"),
    member("bits", "head"),
    member("absent", "head"),
    size("absent"),
];

#[test]
fn members_of_nameless_structures_are_the_outer_ones_own() {
    let found = find(Cursor::new(made().bytes()), &WANTED).unwrap();
    let expected = [Some(48), Some(0), Some(40), Some(16), Some(28), Some(4), None, None, None];
    assert_eq!(found, expected);
}

#[test]
fn an_enumerations_value_is_found_by_its_name() {
    let mut made = made();
    let (of, one) = (made.name("colours"), made.name("green"));
    let other = made.name("blue");
    made.numbers(&[of, KIND_ENUM << 24 | 2, 4, one, 7, other, 9]);
    let wanted = [member("colours", "blue"), member("colours", "green"), member("colours", "red")];
    assert_eq!(find(Cursor::new(made.bytes()), &wanted).unwrap(), [Some(9), Some(7), None]);
}

#[test]
fn functions_have_their_numbers_in_the_small_file_too() {
    let mut made = made();
    let (open, ioctl) = (made.name("chrdev_open"), made.name("__x64_sys_ioctl"));
    made.numbers(&[open, KIND_FUNCTION << 24, 4, ioctl, KIND_FUNCTION << 24, 4]);
    let names = ["__x64_sys_ioctl", "absent", "chrdev_open", "outer"];
    let found = functions(Cursor::new(made.bytes()), &names).unwrap();
    assert_eq!(found, [Some(9), None, Some(8), None]);
    let small = of_functions(&[("__x64_sys_ioctl", 9), ("chrdev_open", 8)]);
    assert_eq!(functions(Cursor::new(small), &names).unwrap(), found);
}

#[test]
fn of_two_structures_of_a_name_the_first_is_taken() {
    let mut made = made();
    let place = |made: &Made, name: &[u8]| {
        u32::try_from(made.names.windows(name.len()).position(|at| at == name).unwrap()).unwrap()
    };
    let (outer, tail) = (place(&made, b"outer\0"), place(&made, b"tail\0"));
    made.numbers(&[outer, KIND_STRUCT << 24 | 1, 48, tail, 1, 352]);
    let found = find(Cursor::new(made.bytes()), &[member("outer", "tail")]);
    assert_eq!(found.unwrap(), [Some(40)]);
}

#[test]
fn whatever_the_file_holds_it_is_read_to_an_end() {
    let whole = made().bytes();
    for length in 0..whole.len() {
        // The names come last: without some of them it is still in order, and less is found.
        let found = find(Cursor::new(&whole[..length]), &WANTED);
        assert!(length >= 24 || found.is_err(), "{length}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            // No panic, and no more than that.
            let _ = find(Cursor::new(bytes), &WANTED);
        }
    }
    assert!(
        find(Cursor::new(&b"no type information at all, but long enough"[..]), &WANTED).is_err()
    );
}

#[test]
fn nameless_structures_without_end_are_refused() {
    let mut made = Made::default();
    // Type 1 holds itself, many times.
    made.structure(KIND_STRUCT, "outer", 8, &[("", 2, 0); 40]);
    made.structure(KIND_STRUCT, "", 8, &[("", 2, 0); 40]);
    made.name("head");
    let found = find(Cursor::new(made.bytes()), &[member("outer", "head")]);
    assert!(matches!(found, Err(Error::Malformed(_))), "{found:?}");
}

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const OF_A_KERNEL: [Wanted; 7] = [
    size("pt_regs"),
    member("task_struct", "stack"),
    member("task_struct", "files"),
    member("file", "f_inode"),
    member("inode", "i_rdev"),
    member("pci_dev", "dev"),
    member("fdtable", "fd"),
];

#[test]
fn this_kernels_own_is_read_as_bpftool_reads_it() {
    let file = match fs::File::open(KERNEL) {
        Ok(file) => file,
        Err(error) => return println!("skipped: {KERNEL}: {error}"),
    };
    let dump = match Command::new("bpftool").args(["btf", "dump", "file", KERNEL]).output() {
        Ok(dump) if dump.status.success() => String::from_utf8_lossy(&dump.stdout).into_owned(),
        Ok(dump) => return println!("skipped: bpftool: {}", dump.status),
        Err(error) => return println!("skipped: bpftool: {error}"),
    };
    let after = |text: &str, tag: &str| -> Option<u32> {
        let digits = text.split_once(tag)?.1.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let expected = OF_A_KERNEL.map(|wanted| {
        let head = format!("STRUCT '{}' size=", wanted.of);
        let mut lines = dump.lines().skip_while(|line| !line.contains(&head));
        let first = lines.next()?;
        let Some(member) = wanted.member else { return after(first, "size=") };
        let member = format!("'{member}' ");
        let mut members = lines.take_while(|line| line.starts_with('\t'));
        Some(after(members.find(|line| line.contains(&member))?, "bits_offset=")? / 8)
    });
    assert_eq!(find(file, &OF_A_KERNEL).unwrap(), expected);
    assert!(expected.iter().all(Option::is_some), "{expected:?}");
}

#[test]
fn damaged_copies_of_this_kernels_own_are_read_to_an_end() {
    let whole = match fs::read(KERNEL) {
        Ok(whole) => whole,
        Err(error) => return println!("skipped: {KERNEL}: {error}"),
    };
    // Lehmer's generator: the same damage each time.
    let mut state = 47_u64;
    let mut random = |below: usize| {
        state = state * 48_271 % 0x7fff_ffff;
        usize::try_from(state).unwrap() % below
    };
    for round in 0..12 {
        let mut bytes = whole.clone();
        for _ in 0..1 << round {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        bytes.truncate(whole.len() - random(whole.len()) % (1 + (whole.len() >> 1)) * (round % 2));
        let _ = find(Cursor::new(bytes), &OF_A_KERNEL);
    }
}
