use std::time::{Duration, SystemTime};

use super::{
    Counter, Gauge, Reason, Rings, Sample, Spread, Window,
    rings::{COARSE, COARSE_S, FINE},
    statistics::{counted, held, place, statistics, stretches},
};

/// A time of day, in seconds since 1970.
const NOON: u64 = 1_800_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOON + second)
}

fn float(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

fn of(gauge: Gauge, value: f64) -> Sample {
    let mut sample = Sample::default();
    sample.set(gauge, Some(value));
    sample
}

/// One sample a second for so many seconds.
fn filled(seconds: u64, sample: impl Fn(u64) -> Sample) -> Rings {
    let mut rings = Rings::default();
    for second in 0..seconds {
        rings.push(at(second), Duration::from_secs(second), &sample(second));
    }
    rings
}

fn all(rings: &Rings) -> Window {
    rings.window(SystemTime::UNIX_EPOCH, at(1 << 30))
}

/// The window's last seconds, so that the fine ring is asked.
fn last(rings: &Rings, until: u64, seconds: u64) -> Window {
    rings.window(at(until - seconds), at(until))
}

#[test]
fn every_gauge_comes_back_as_it_was_put_in_as_far_as_it_is_kept() {
    for (gauge, values, within) in [
        (Gauge::Temperature, [-40.0, 0.0, 41.0, 214.0], 0.0),
        (Gauge::MemoryTemperature, [-3.0, 55.0, 95.0, 105.0], 0.0),
        (Gauge::GpuUtilization, [0.0, 0.5, 50.0, 100.0], 0.0),
        (Gauge::MemoryUtilization, [0.0, 33.3, 66.6, 100.0], 0.25),
        (Gauge::Power, [0.0, 68.57, 699.96, 6553.0], 0.05),
        (Gauge::MemoryUsed, [0.0, 8.0, 81_559.0, 294_912.0], 4.0),
        (Gauge::SmClock, [0.0, 345.0, 1980.0, 65_534.0], 0.0),
        (Gauge::MemoryClock, [0.0, 2619.0, 3996.0, 10_000.0], 0.0),
    ] {
        for value in values {
            let point = last(&filled(1, |_| of(gauge, value)), 0, 0).points[0];
            let Spread { low, mean, high } = point.gauge(gauge).unwrap();
            for read in [low, mean, high] {
                assert!((read - value).abs() <= within + 1e-9, "{gauge:?} {value}: {read}");
            }
            for other in Gauge::ALL.into_iter().filter(|other| *other != gauge) {
                assert_eq!(point.gauge(other), None, "{gauge:?} {other:?}");
            }
        }
    }
}

#[test]
fn what_is_out_of_range_is_the_nearest_and_never_absence() {
    for (gauge, value, nearest) in [
        (Gauge::Temperature, -100.0, -40.0),
        (Gauge::Temperature, 4000.0, 214.0),
        (Gauge::SmClock, -1.0, 0.0),
        (Gauge::SmClock, 1e9, 65_534.0),
        (Gauge::Power, f64::NAN, 0.0),
    ] {
        let point = last(&filled(1, |_| of(gauge, value)), 0, 0).points[0];
        assert_eq!(point.gauge(gauge), Some(Spread::at(nearest)), "{gauge:?} {value}");
    }
}

#[test]
fn absent_is_absent_in_both_rings() {
    let rings = filled(2000, |_| Sample::default());
    for window in [last(&rings, 1999, 100), all(&rings)] {
        assert!(window.points.len() > 50);
        for gauge in Gauge::ALL {
            assert_eq!(statistics(&window.points, gauge), None);
        }
        assert_eq!(held(&window.points), ([0; 9], 0));
        for counter in Counter::ALL {
            assert_eq!(counted(&window.points, counter), None);
        }
    }
}

#[test]
fn the_rings_are_bounded_and_keep_the_newest() {
    let (seconds, second) = (100_000, |second: u64| of(Gauge::SmClock, float(second % 2000)));
    let rings = filled(seconds, second);
    // Ten minutes are told by the second, whenever after the newest reading they are asked for.
    for after in 0..10 {
        let fine = last(&rings, seconds - 1 + after, 600);
        let count = usize::try_from(601 - after).unwrap();
        assert_eq!((fine.resolution_s, fine.points.len()), (1, count));
    }
    let fine = last(&rings, seconds - 1, 600);
    assert_eq!(statistics(&fine.points, Gauge::SmClock).map(|told| told.last), Some(1999.0));
    let coarse = all(&rings);
    // The one in the making besides.
    assert_eq!((coarse.resolution_s, coarse.points.len()), (COARSE_S, COARSE + 1));
    assert_eq!(rings.len(), FINE);
    // A GPU takes 130 KiB, sixteen 2.1 MiB.
    assert!(rings.bytes() < 130 << 10, "{}", rings.bytes());
    assert!(Rings::default().bytes() < 1024, "no memory before there is something to keep");
}

/// Numbers that look like chance and are the same each time.
fn noise(seed: u64) -> impl Fn(u64) -> u64 {
    move |second| {
        let mixed = (second + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    }
}

#[test]
fn both_resolutions_tell_the_same() {
    for seed in 0..20 {
        let noise = noise(seed);
        let seconds = 41 * u64::from(COARSE_S);
        let sample = |second: u64| {
            let mut sample = of(Gauge::Power, float(noise(second) % 700));
            sample.widen(Gauge::Power, float(noise(second + 7) % 900));
            sample.set(Gauge::Temperature, Some(float(noise(second) % 90)));
            sample.reasons = Some(noise(second) & 0x1ff);
            sample.counters[Counter::EccCorrected as usize] = Some(second * (seed + 1));
            sample
        };
        // The fine ring has all of them, and the coarse one too.
        let rings = filled(seconds, sample);
        let fine = all(&rings);
        let coarse = {
            let mut later = filled(seconds, sample);
            later.push(at(seconds), Duration::from_secs(seconds), &Sample::default());
            let mut window = later.window(at(0), at(seconds - 1));
            window.points.retain(|point| point.samples > 0);
            window
        };
        assert_eq!((fine.resolution_s, coarse.resolution_s), (1, COARSE_S), "seed {seed}");
        let samples = |window: &Window| -> u32 {
            window.points.iter().map(|point| u32::from(point.samples)).sum()
        };
        assert_eq!((samples(&fine), samples(&coarse)), (615, 615));
        for (gauge, tolerance) in [(Gauge::Power, 0.06), (Gauge::Temperature, 0.51)] {
            let [fine, coarse] = [&fine, &coarse].map(|w| statistics(&w.points, gauge).unwrap());
            assert_eq!((fine.min, fine.max), (coarse.min, coarse.max), "seed {seed} {gauge:?}");
            assert!((fine.mean - coarse.mean).abs() <= tolerance, "{fine:?} {coarse:?}");
        }
        assert_eq!(held(&fine.points), held(&coarse.points));
        let rise = |window: &Window| counted(&window.points, Counter::EccCorrected);
        assert_eq!((rise(&fine), rise(&coarse)), (Some(614 * (seed + 1)), rise(&fine)));
    }
}

#[test]
fn nothing_short_is_lost_in_the_coarse_ring() {
    let peak = 1000;
    let rings = filled(9000, |second| {
        let mut sample = of(Gauge::Power, 100.0);
        if second == peak {
            sample.widen(Gauge::Power, 690.0);
        }
        sample.reasons = Some(if second == peak { 0x44 } else { 0 });
        sample.counters[Counter::PcieReplays as usize] = Some(u64::from(second >= peak));
        sample
    });
    let window = rings.window(at(peak - 60), at(peak + 60));
    assert_eq!(window.resolution_s, COARSE_S);
    let power = statistics(&window.points, Gauge::Power).unwrap();
    assert_eq!((power.min, power.max), (100.0, 690.0));
    let (held, known) = held(&window.points);
    assert_eq!(
        Reason::ALL.into_iter().filter(|r| held[*r as usize] == 1).collect::<Vec<_>>(),
        [Reason::SwPowerCap, Reason::HwThermalSlowdown]
    );
    assert!(known >= 105, "{known}");
    assert_eq!(counted(&window.points, Counter::PcieReplays), Some(1));
}

#[test]
fn counters_rise_begin_anew_with_the_driver_and_saturate() {
    for (name, values, rise) in [
        ("steady", vec![Some(7), Some(7), Some(7)], Some(0)),
        ("what stood there before is nobody's rise", vec![Some(1_000_000)], Some(0)),
        ("rises", vec![Some(1), Some(3), Some(3), Some(10)], Some(9)),
        ("the driver was loaded anew", vec![Some(100), Some(104), Some(2), Some(3)], Some(7)),
        ("not read for a while", vec![Some(5), None, None, Some(8)], Some(3)),
        ("never read", vec![None, None], None),
        ("more than is kept", vec![Some(0), Some(1 << 40)], Some(65_534)),
    ] {
        let rings = filled(values.len() as u64, |second| {
            let mut sample = Sample::default();
            let value = values[usize::try_from(second).unwrap()];
            sample.counters[Counter::NvlinkErrors as usize] = value;
            sample
        });
        assert_eq!(counted(&all(&rings).points, Counter::NvlinkErrors), rise, "{name}");
    }
}

#[test]
fn each_reason_has_its_bit_and_unknown_bits_are_not_lost() {
    for (bits, reasons) in [
        (0, vec![]),
        (0x1, vec![Reason::GpuIdle]),
        (0x2, vec![Reason::ApplicationsClocksSetting]),
        (0x68, vec![Reason::HwSlowdown, Reason::SwThermalSlowdown, Reason::HwThermalSlowdown]),
        (0x94, vec![Reason::SwPowerCap, Reason::SyncBoost, Reason::HwPowerBrakeSlowdown]),
        (0x100, vec![Reason::Other]),
        (1 << 63, vec![Reason::Other]),
    ] {
        let rings = filled(3, |_| Sample { reasons: Some(bits), ..Sample::default() });
        let (held, known) = held(&all(&rings).points);
        let found: Vec<_> =
            Reason::ALL.into_iter().filter(|reason| held[*reason as usize] == 3).collect();
        assert_eq!((found, known), (reasons, 3), "{bits:#x}");
    }
}

#[test]
fn a_gap_is_told_with_its_reason_and_its_ends() {
    let mut rings = filled(5, |_| Sample::default());
    for second in 5..20 {
        rings.missed(at(second), if second < 12 { "hangs" } else { "is lost" });
    }
    let open = all(&rings).gaps;
    let told = |gap: &super::Gap| {
        let offset = |time: u32| u64::from(time) - NOON;
        (offset(gap.from), gap.to.map(offset), gap.reason.to_string())
    };
    let hangs = (5, Some(12), "hangs".to_owned());
    assert_eq!(
        open.iter().map(told).collect::<Vec<_>>(),
        [hangs.clone(), (12, None, "is lost".to_owned())]
    );
    rings.push(at(20), Duration::from_secs(20), &Sample::default());
    let closed = all(&rings).gaps;
    assert_eq!(
        closed.iter().map(told).collect::<Vec<_>>(),
        [hangs, (12, Some(20), "is lost".to_owned())]
    );
    // Where nobody said why.
    rings.push(at(60), Duration::from_mins(1), &Sample::default());
    let gaps = all(&rings).gaps;
    assert_eq!((gaps.len(), told(&gaps[2]).0, told(&gaps[2]).1), (3, 20, Some(60)));
    // Only those of the window, and not more than are kept.
    assert_eq!(rings.window(at(13), at(30)).gaps.len(), 2);
    for second in 100..300 {
        rings.missed(at(second), &format!("{second} {}", "x".repeat(1000)));
    }
    assert!(rings.bytes() < 138 << 10, "{}", rings.bytes());
    assert!(all(&rings).gaps.iter().all(|gap| gap.reason.len() <= 160));
}

#[test]
fn a_clock_that_is_set_breaks_nothing_and_is_told() {
    for (name, set, told) in [
        ("forward", 3600_i64, "+3600 s"),
        ("back", -3600, "-3600 s"),
        ("to 1970", -1_800_000_000, "-1800000000 s"),
    ] {
        let mut rings = Rings::default();
        for second in 0..1300_u64 {
            let shift = if second < 650 { 0 } else { set };
            let wall = at(0).checked_add(Duration::from_secs(second)).unwrap();
            let wall = if shift < 0 {
                wall.checked_sub(Duration::from_secs(shift.unsigned_abs())).unwrap()
            } else {
                wall + Duration::from_secs(shift.unsigned_abs())
            };
            rings.push(wall, Duration::from_secs(second), &of(Gauge::SmClock, float(second)));
        }
        let window = all(&rings);
        let clocks = statistics(&window.points, Gauge::SmClock).unwrap();
        assert_eq!((clocks.min, clocks.max), (0.0, 1299.0), "{name}");
        assert_eq!(window.points.iter().map(|p| u32::from(p.samples)).sum::<u32>(), 1300, "{name}");
        assert_eq!(window.gaps.len(), 1, "{name}: {:?}", window.gaps);
        assert!(window.gaps[0].reason.contains(told), "{name}: {:?}", window.gaps);
    }
}

#[test]
fn stretches_are_of_equal_length_and_empty_where_there_is_nothing() {
    let from = u32::try_from(NOON).unwrap();
    let mut rings = Rings::default();
    for second in (0..10).chain(20..30) {
        let sample = of(Gauge::SmClock, float(second));
        rings.push(at(second), Duration::from_secs(second), &sample);
    }
    let points = all(&rings).points;
    let told = stretches(&points, Gauge::SmClock, (from, from + 29), 6);
    let spread = |low: f64| Some(Spread { low, mean: low + 2.0, high: low + 4.0 });
    assert_eq!(told, [spread(0.0), spread(5.0), None, None, spread(20.0), spread(25.0)]);
    assert_eq!(stretches(&points, Gauge::Power, (from, from + 29), 2), [None, None]);
    for (at, expected) in
        [(9, None), (10, Some(0)), (14, Some(0)), (15, Some(1)), (19, Some(1)), (20, None)]
    {
        assert_eq!(place(at, (10, 19), 2), expected, "{at}");
    }
    assert_eq!(place(5, (9, 3), 2), None);
}

#[test]
fn statistics_are_those_of_the_samples() {
    let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    let rings = filled(100, |second| of(Gauge::SmClock, values[usize::try_from(second).unwrap()]));
    let told = statistics(&all(&rings).points, Gauge::SmClock).unwrap();
    assert_eq!((told.min, told.mean, told.max, told.p95, told.last), (1.0, 50.5, 100.0, 95.0, 1.0));
}

#[test]
fn what_the_driver_kept_is_told_by_the_second_and_nothing_of_it_has_risen() {
    let us = |second: u64, part: u64| (NOON + second) * 1_000_000 + part;
    let mut reading = of(Gauge::Power, 250.0);
    reading.counters = [Some(7); 7];
    let samples = [
        (Gauge::Power, us(0, 100), 100.0),
        (Gauge::Power, us(0, 900_000), 300.0),
        (Gauge::GpuUtilization, us(0, 500_000), 40.0),
        (Gauge::Power, us(2, 0), 200.0),
    ];
    let window = super::kept::window(&samples, at(3), &reading);
    let told: Vec<_> =
        window.points.iter().map(|p| (u64::from(p.at) - NOON, p.gauge(Gauge::Power))).collect();
    let first = Spread { low: 100.0, mean: 200.0, high: 300.0 };
    let only = |value| Some(Spread::at(value));
    assert_eq!(told, [(0, Some(first)), (2, only(200.0)), (3, only(250.0))]);
    let busy = statistics(&window.points, Gauge::GpuUtilization);
    assert_eq!(busy.map(|told| told.mean), Some(40.0));
    assert_eq!(Counter::ALL.map(|counter| counted(&window.points, counter)), [None; 7]);
    assert_eq!(super::kept::window(&[], at(0), &Sample::default()).points.len(), 1);
}
