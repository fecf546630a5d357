//! The published cases of the reservation rule, row by row.

use super::super::reserve::{Ask, Kept, Offer, Unfit, cores_reserved, reserve, width_under};
use crate::model::{CoreRequest, Fractions, Policy, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

use ThreadMode::{All, Auto, Variable};
use Unfit::{
    CoresShort, GpuKept, GpusShort, HostNotFullyIdle, MemoryShort, NoWholeCore, ReservesNothing, ThreadModeAll,
    VariableNeedsTwo,
};

const G: i64 = 1_048_576;

/// Centicores and KiB as the table writes them. Host cores and idle cores, idle memory, mode, then
/// minimum and maximum cores, memory, threadable, selfish.
type Row = (u32, (i64, i64), i64, ThreadMode, i64, Option<i64>, i64, bool, bool, Result<i64, Unfit>);

const ROWS: &[Row] = &[
    (1, (800, 800), 32 * G, Auto, 100, None, 3_355_443, true, false, Ok(100)),
    (2, (800, 800), 32 * G, Auto, 100, None, 3_355_443, false, false, Ok(100)),
    (3, (800, 800), 32 * G, Auto, 400, None, 4 * G, false, false, Ok(100)),
    (4, (800, 800), 32 * G, Auto, 50, None, G, false, false, Ok(50)),
    (5, (800, 800), 32 * G, Auto, 50, None, G, true, false, Ok(50)),
    (6, (800, 60), 32 * G, Auto, 50, None, G, false, false, Ok(50)),
    (7, (800, 30), 32 * G, Auto, 50, None, G, false, false, Err(CoresShort)),
    (8, (800, 800), 32 * G, Auto, 0, None, 4 * G, true, false, Ok(800)),
    (9, (800, 700), 32 * G, Auto, 0, None, 4 * G, true, false, Err(HostNotFullyIdle)),
    (10, (800, 800), 32 * G, Auto, 0, None, 4 * G, false, false, Ok(100)),
    (11, (800, 800), 32 * G, Auto, 0, Some(400), 4 * G, true, false, Ok(800)),
    (12, (800, 800), 32 * G, Auto, -200, None, 4 * G, true, false, Ok(600)),
    (13, (800, 700), 32 * G, Auto, -200, None, 4 * G, true, false, Err(HostNotFullyIdle)),
    (14, (800, 800), 32 * G, Auto, -200, None, 4 * G, false, false, Ok(100)),
    (15, (800, 800), 32 * G, Auto, -50, None, 4 * G, true, false, Ok(750)),
    (16, (800, 800), 32 * G, Auto, -800, None, 4 * G, true, false, Err(ReservesNothing)),
    (17, (800, 800), 32 * G, Auto, -900, None, 4 * G, true, false, Err(ReservesNothing)),
    (18, (800, 50), 32 * G, Auto, 100, None, G, true, false, Err(NoWholeCore)),
    (19, (800, 150), 32 * G, Auto, 100, None, G, true, false, Ok(100)),
    (20, (800, 700), 8 * G, Auto, 100, None, 7 * G, true, false, Ok(700)),
    (21, (800, 780), 8 * G, Auto, 100, None, 3_355_443, true, false, Ok(300)),
    (22, (800, 200), 4 * G, Auto, 100, None, 4 * G, true, false, Ok(200)),
    (23, (800, 200), 16 * G, Auto, 100, None, 8 * G, true, false, Ok(200)),
    (24, (800, 100), 4 * G, Auto, 100, None, G, false, false, Ok(100)),
    (25, (4800, 4800), 256 * G, Auto, 100, None, 80 * G, true, false, Ok(1500)),
    (26, (4800, 4800), 256 * G, Auto, 100, Some(100), 80 * G, true, false, Ok(100)),
    (27, (4800, 4800), 256 * G, Auto, 200, Some(200), 80 * G, true, false, Ok(200)),
    (28, (4800, 4800), 256 * G, Auto, 1000, Some(2000), 80 * G, true, false, Ok(1500)),
    (29, (4800, 4800), 256 * G, Auto, 2000, None, 80 * G, true, false, Ok(2000)),
    (30, (800, 750), 32 * G, Auto, 100, None, 4 * G, true, true, Ok(700)),
    (31, (800, 750), 32 * G, Auto, 100, Some(400), 4 * G, true, true, Ok(400)),
    (32, (800, 750), 32 * G, Auto, 100, None, 4 * G, false, true, Ok(100)),
    (33, (800, 800), 8 * G, Auto, 100, None, 6_815_744, true, false, Ok(800)),
    (34, (800, 800), 8 * G, Auto, 100, None, 6_815_743, true, false, Ok(600)),
    (35, (800, 800), 8 * G, Auto, 100, None, 6_388_608, true, false, Ok(600)),
    (36, (800, 800), 32 * G, Auto, 100, None, 6 * G, true, false, Ok(200)),
    (37, (800, 800), 32 * G, Auto, 100, None, 6_291_455, true, false, Ok(100)),
    (38, (800, 800), 32 * G, Auto, 100, None, 10 * G, true, false, Ok(300)),
    (39, (800, 650), 32 * G, All, 100, None, 4 * G, true, false, Ok(600)),
    (40, (800, 650), 32 * G, All, 100, Some(400), 4 * G, true, false, Ok(400)),
    (41, (800, 650), 32 * G, All, 50, None, 4 * G, true, false, Ok(50)),
    (42, (800, 650), 32 * G, All, 100, None, 4 * G, false, false, Err(ThreadModeAll)),
    (43, (800, 800), 32 * G, Variable, 100, None, 4 * G, true, false, Ok(200)),
    (44, (800, 150), 32 * G, Variable, 100, None, 4 * G, true, false, Err(VariableNeedsTwo)),
    (45, (800, 800), 32 * G, Variable, 100, None, 4 * G, false, false, Ok(100)),
    (46, (800, 800), 32 * G, Variable, 100, Some(100), 4 * G, true, false, Ok(100)),
    (47, (800, 100), 32 * G, Variable, 100, Some(100), 16 * G, true, false, Err(VariableNeedsTwo)),
    (48, (800, 800), 32 * G, Variable, 100, None, 12 * G, true, false, Ok(300)),
    (49, (800, 800), 32 * G, Variable, 300, None, 4 * G, true, false, Ok(300)),
    (50, (800, 800), 32 * G, Variable, 50, None, 4 * G, true, false, Ok(50)),
    (51, (800, 800), 32 * G, Auto, 250, None, 4 * G, true, false, Ok(250)),
    (52, (800, 800), 32 * G, Auto, 250, None, 4 * G, false, false, Ok(100)),
    (53, (800, 240), 32 * G, Auto, 250, None, 4 * G, true, false, Err(CoresShort)),
    (54, (800, 800), 32 * G, Auto, 100, Some(150), 12 * G, true, false, Ok(150)),
    (55, (800, 800), 32 * G, Auto, 400, Some(200), 4 * G, true, false, Ok(200)),
    (58, (250, 250), 8 * G, Auto, 100, None, 4 * G, true, false, Ok(100)),
    (59, (800, 800), 4 * G, Auto, 100, None, 8 * G, true, false, Err(MemoryShort)),
];

fn ask(cores: i64, memory: i64) -> Ask {
    Ask {
        cores: CoreRequest::from_column(cores),
        cores_max: None,
        memory: Kib(memory),
        gpus: Gpus::ZERO,
        gpu_memory: Kib::ZERO,
        is_threadable: true,
        is_selfish: false,
        is_short: false,
    }
}

fn room(thread_mode: ThreadMode, cores: i64, idle_cores: i64, idle_memory: i64) -> Offer {
    let idle = Amounts { cores: Cores(idle_cores), memory: Kib(idle_memory), ..Amounts::default() };
    Offer {
        thread_mode,
        cores: Cores(cores),
        idle,
        busy: Cores::ZERO,
        lacks_free_memory: false,
        fractions: Fractions::Any,
        kept: Kept::ByGpuMemory,
    }
}

#[test]
fn every_published_case_reserves_what_cuebot_reserves() {
    let policy = Policy::default();
    for &(number, (cores, idle_cores), idle_memory, mode, min, max, memory, is_threadable, is_selfish, expected) in ROWS
    {
        let ask = Ask { cores_max: max.map(Cores), is_threadable, is_selfish, ..ask(min, memory) };
        let reserved = reserve(&ask, &room(mode, cores, idle_cores, idle_memory), &policy);
        assert_eq!(reserved.map(|amounts| amounts.cores), expected.map(Cores), "case {number}");
        if let Ok(amounts) = reserved {
            assert_eq!(amounts.memory, Kib(memory), "case {number}");
            assert!(amounts.cores >= ask.cores_min(&policy), "case {number}");
        }
        if idle_cores < ask.idle_cores_min(mode).get() {
            assert!(reserved.is_err(), "case {number}");
        }
    }
    assert_eq!(ROWS.len() + 2, 59, "cases 56 and 57 are those of stranded cores");
}

#[test]
fn stranded_cores_pin_the_formula() {
    let policy = Policy::default();
    let case_56 = cores_reserved(&ask(100, G / 2), &room(All, 800, 300, G), Cores(300), &policy);
    let case_57 = cores_reserved(&ask(0, 4 * G), &room(Auto, 800, 800, 32 * G), Cores(200), &policy);
    assert_eq!((case_56, case_57), (Ok(Cores(300)), Ok(Cores(200))));
}

#[test]
fn gpus_are_reserved_as_asked_and_kept_from_other_work() {
    let on = |gpus: (i64, i64), idle_gpus: (i64, i64), idle_cores: i64| {
        let ask = Ask { gpus: Gpus(gpus.0), gpu_memory: Kib(gpus.1), ..ask(100, G) };
        let mut room = room(Auto, 800, idle_cores, 32 * G);
        room.idle.gpus = Gpus(idle_gpus.0);
        room.idle.gpu_memory = Kib(idle_gpus.1);
        reserve(&ask, &room, &Policy::default()).map(|amounts| (amounts.gpus.get(), amounts.gpu_memory.get()))
    };
    assert_eq!(on((1, 2 * G), (2, 8 * G), 800), Ok((1, 2 * G)));
    assert_eq!(on((1, 0), (2, 8 * G), 800), Err(GpuKept));
    assert_eq!(on((0, 0), (1, 4 * G), 200), Ok((0, 0)));
    assert_eq!(on((0, 0), (1, 4 * G), 199), Err(GpuKept));
    assert_eq!(on((2, 0), (1, 0), 800), Err(GpusShort));
    assert_eq!(on((1, 2 * G), (1, G), 800), Err(Unfit::GpuMemoryShort));
    assert_eq!(on((0, 0), (1, 4 * G + 1), 800), Err(GpuKept));
    // What does not fit even without the protection says so.
    assert_eq!(on((0, 0), (1, 4 * G), 99), Err(NoWholeCore));
}

#[test]
fn agents_that_refuse_fractions_get_whole_cores() {
    let policy = Policy { fractional_cores: crate::model::FractionalCores::RoundUp, ..Policy::default() };
    let rounded = |min: i64, max: Option<i64>, cores: i64, idle: i64| {
        let ask = Ask { cores_max: max.map(Cores), ..ask(min, 12 * G) };
        reserve(&ask, &room(Auto, cores, idle, 32 * G), &policy).map(|amounts| amounts.cores.get())
    };
    assert_eq!(rounded(50, None, 800, 800), Ok(100));
    assert_eq!(rounded(50, None, 800, 60), Err(CoresShort));
    assert_eq!(rounded(350, None, 800, 800), Ok(400));
    assert_eq!(rounded(350, None, 800, 360), Err(CoresShort));
    assert_eq!(rounded(100, Some(150), 800, 190), Ok(100));
    assert_eq!(rounded(0, None, 250, 250), Ok(200));
    assert_eq!(rounded(-50, None, 800, 800), Ok(800));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, cases: 20_000, ..Default::default() })]

    /// Searches pass over hosts by these bounds, so they must never be wrong.
    #[test]
    fn bounds_hold_for_every_host(
        asked in proptest::sample::select(vec![-150_i64, 0, 50, 100, 150, 200, 250, 400]),
        max in proptest::option::of(proptest::sample::select(vec![50_i64, 100, 150, 250, 400])),
        memory in 0..12_000_000_i64,
        flags: [bool; 3],
        mode in proptest::sample::select(vec![Auto, All, Variable]),
        cores in 50..1_700_i64,
        idle_part in 0..=4_i64,
        idle_memory in 0..40_000_000_i64,
        cores_max in 0..900_i64,
    ) {
        let [is_threadable, is_selfish, rounds_up] = flags;
        let mut policy = Policy::default();
        if rounds_up {
            policy.fractional_cores = crate::model::FractionalCores::RoundUp;
        }
        let ask = Ask { cores_max: max.map(Cores), is_threadable, is_selfish, ..ask(asked, memory) };
        let idle_cores = if ask.is_exclusive() { cores } else { cores * idle_part / 4 };
        let room = room(mode, cores, idle_cores, idle_memory);
        let Ok(reserved) = reserve(&ask, &room, &policy) else { return Ok(()) };
        proptest::prop_assert!(room.idle.cores >= ask.idle_cores_min(mode));
        proptest::prop_assert!(reserved.cores >= ask.cores_min(&policy));
        proptest::prop_assert!(reserved.fits_in(&room.idle));
        let width = width_under(&ask, mode, Cores(cores_max), Cores(cores), &policy);
        if let Some(width) = width
            && room.idle.cores >= width.idle_cores
            && room.idle.memory < width.idle_memory
        {
            proptest::prop_assert!(reserved.cores > Cores(cores_max), "{reserved:?} {width:?}");
        }
    }
}
