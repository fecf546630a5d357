//! A mixed farm, drawn from a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::spec::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use crate::model::{TagKind, ThreadMode};
use crate::units::{Cores, Gpus, Kib};

impl FarmSpec {
    /// A farm of `hosts` hosts in classes of several sizes, systems and thread modes, with `jobs` jobs
    /// of several shows that have `frames` frames together: fractional and whole-host layers, GPUs,
    /// chunks, odd tags, licences.
    ///
    /// Every frame can run: each layer fits an empty host of a class that carries its tag and runs its
    /// system, and no burst, cap or limit is below what one frame can take. They do throttle.
    #[must_use]
    pub fn demo(hosts: usize, jobs: usize, frames: u32, seed: u64) -> Self {
        let mut draw = StdRng::seed_from_u64(seed);
        let classes = classes(hosts);
        let farm = Farm::of(&classes);
        let mut spec =
            Self { seed, ..Self::empty() }.alloc("general", "general").alloc("desktop", "desktop").alloc("gpu", "gpu");
        spec.host_classes = classes;
        let quarter = i32::try_from(hosts / 4).unwrap_or(i32::MAX).max(1);
        spec = spec.limit("arnold", quarter.saturating_mul(8)).limit("nuke", quarter).host_limit("houdini", quarter);
        spec.shows = shows(&farm);

        let jobs = jobs.clamp(1, usize::try_from(frames.max(1)).unwrap_or(usize::MAX));
        for (number, frames) in (1..).zip(shares(&mut draw, frames, jobs)) {
            let job = job(&mut draw, &farm, number, frames);
            let show = draw.random_range(0..spec.shows.len());
            let folders = &mut spec.shows[show].folders;
            let folder = draw.random_range(0..folders.len());
            folders[folder].jobs.push(job);
        }
        spec
    }
}

/// Of a hundred hosts; the first class takes what rounding leaves.
fn classes(hosts: usize) -> Vec<HostClass> {
    let gib = |gib: i64| Kib(Kib::gib(gib).get() - 524_288);
    let class = |name: &str, cores: i64, memory: i64| {
        HostClass::new(name, 0).cores(Cores::whole(cores)).memory(gib(memory)).tag(name, TagKind::Hardware)
    };
    let mut classes = [
        (0, class("blade", 8, 32)),
        (22, class("twin", 16, 64).os("centos7,rhel9").tag("r.e-n_der", TagKind::Manual)),
        (12, class("wide", 32, 128).thread_mode(ThreadMode::Variable).tag("overnight", TagKind::Manual)),
        (5, class("monster", 64, 256).thread_mode(ThreadMode::All).tag("sim", TagKind::Manual)),
        (10, class("desk", 6, 24).alloc("desktop").cores(Cores(650))),
        (10, class("a100", 24, 128).alloc("gpu").gpus(4, Kib::gib(96)).tag("cuda-12.4", TagKind::Hardware)),
        (6, class("winbox", 12, 64).os("windows")),
    ];
    for (of_hundred, class) in &mut classes {
        class.hosts = hosts * *of_hundred / 100;
    }
    let others: usize = classes.iter().map(|(_, class)| class.hosts).sum();
    classes[0].1.hosts = hosts - others;
    classes.into_iter().map(|(_, class)| class).collect()
}

/// What the work is drawn for.
struct Farm {
    /// Classes with hosts, each as often as it has hosts in a hundred, so that work follows the hosts.
    /// Never empty: a farm that gets its hosts later has blades to plan for.
    classes: Vec<HostClass>,
    /// Of all allocations together.
    cores: Cores,
    /// The most that one frame can take.
    cores_of_largest: Cores,
    gpus_of_largest: Gpus,
    gpus: Gpus,
}

impl Farm {
    fn of(classes: &[HostClass]) -> Self {
        let hosts: usize = classes.iter().map(|class| class.hosts).sum();
        let mut weighted = Vec::new();
        for class in classes.iter().filter(|class| class.hosts > 0) {
            weighted.extend(std::iter::repeat_n(class.clone(), (class.hosts * 100).div_ceil(hosts)));
        }
        if weighted.is_empty() {
            weighted.extend(classes.first().cloned());
        }
        let sum = |amount: fn(&HostClass) -> i64| {
            classes.iter().map(|class| amount(class) * i64::try_from(class.hosts).unwrap_or(i64::MAX)).sum()
        };
        let most = |amount: fn(&HostClass) -> i64| weighted.iter().map(amount).max().unwrap_or_default();
        Self {
            cores: Cores(sum(|class| class.total.cores.get())),
            gpus: Gpus(sum(|class| class.total.gpus.get())),
            cores_of_largest: Cores(most(|class| class.total.cores.get())),
            gpus_of_largest: Gpus(most(|class| class.total.gpus.get())),
            classes: weighted,
        }
    }

    /// A share of the farm's cores, but never too few for one frame.
    fn cores(&self, parts: i64) -> Cores {
        Cores(self.cores.get() / parts / 100 * 100).max(self.cores_of_largest)
    }

    fn gpus(&self, parts: i64) -> Gpus {
        Gpus(self.gpus.get() / parts).max(self.gpus_of_largest)
    }
}

/// Shows of different weight; the first could fill the farm alone, the last is kept small.
fn shows(farm: &Farm) -> Vec<ShowSpec> {
    let show = |name: &str, parts: i64| {
        let (size, burst) = (farm.cores(parts * 2), farm.cores(parts));
        let show = ShowSpec::new(name)
            .subscription("general", size, burst)
            .subscription("desktop", size, burst)
            .subscription("gpu", size, burst);
        show.folder(FolderSpec::new("comp").dept("comp").cores_max(farm.cores(parts + 1)))
            .folder(FolderSpec::new("fx").dept("fx").gpus_max(farm.gpus(2)))
            .folder(FolderSpec::new("light").dept("light"))
    };
    vec![show("alpha", 1), show("bravo", 2), show("charlie", 3), show("delta", 6)]
}

fn job(draw: &mut StdRng, farm: &Farm, number: usize, frames: u32) -> JobSpec {
    let system = system(draw, farm);
    let mut job = JobSpec::new(&format!("job{number:04}")).priority(draw.random_range(1..=100));
    job.shot = format!("sh{:03}", draw.random_range(1..=40) * 10);
    job.os.clone_from(&system);
    job.cores_max = farm.cores(*[2, 4, 8].choose(draw).unwrap_or(&2));
    job.gpus_max = farm.gpus(2);
    let layers = usize::try_from(frames).unwrap_or(1).clamp(1, draw.random_range(1..=5));
    for (number, frames) in (1..).zip(shares(draw, frames, layers)) {
        let classes: Vec<&HostClass> = farm.classes.iter().filter(|class| runs(class, system.as_deref())).collect();
        if let Some(class) = classes.choose(draw) {
            job.layers.push(layer(draw, class, number, frames));
        }
    }
    job
}

/// One of the systems that some class runs, or none, which fits any host.
fn system(draw: &mut StdRng, farm: &Farm) -> Option<String> {
    let class = farm.classes.choose(draw)?;
    let systems: Vec<&str> = class.os.split(',').collect();
    systems.choose(draw).filter(|_| draw.random_bool(0.8)).map(|&system| system.to_owned())
}

fn runs(class: &HostClass, system: Option<&str>) -> bool {
    system.is_none_or(|system| class.os.split(',').any(|os| os == system))
}

/// A layer that fits an empty host of `class`.
fn layer(draw: &mut StdRng, class: &HostClass, number: usize, frames: u32) -> LayerSpec {
    let kinds = ["render", "comp", "sim", "denoise", "cache"];
    let kind = kinds.choose(draw).copied().unwrap_or("render");
    let mut layer = LayerSpec::new(&format!("{kind}_{number}")).frames(frames).tags(&tags(draw, class));
    let takes_whole_hosts_only = class.thread_mode == ThreadMode::All;
    layer.is_threadable = takes_whole_hosts_only || draw.random_bool(0.6);
    let whole_cores = class.total.cores.whole_cores();
    layer.cores_min = match draw.random_range(0..100) {
        0..15 if !takes_whole_hosts_only => Cores(50),
        15..18 => Cores::ZERO,
        18..20 if whole_cores > 2 => Cores::whole(-2),
        20..24 if !takes_whole_hosts_only && layer.is_threadable && whole_cores > 2 => Cores(250),
        _ if layer.is_threadable => Cores::whole(draw.random_range(1..=(whole_cores / 2).max(1))),
        _ => Cores::ONE,
    };
    if layer.cores_min.get() > 0 && layer.cores_min < Cores::ONE {
        layer.is_threadable = false;
    }
    if layer.is_threadable && draw.random_bool(0.5) {
        layer.cores_max = layer.cores_min.max(Cores::ONE) + Cores::whole(4);
    }
    // At most a third, so that other work fits beside it.
    layer.memory = Kib(draw.random_range(Kib::mib(256).get()..=class.total.memory.get() / 3));
    if class.total.gpus > Gpus::ZERO {
        layer.gpus = Gpus(draw.random_range(1..=class.total.gpus.get()));
        layer.gpu_memory = Kib(class.total.gpu_memory.get() / class.total.gpus.get() / 2);
    }
    layer.chunk_size = *[1, 1, 1, 5].choose(draw).unwrap_or(&1);
    (layer.services, layer.limits) = match draw.random_range(0..20) {
        0..4 => ("arnold".to_owned(), vec!["arnold".to_owned()]),
        4..6 => ("nuke".to_owned(), vec!["nuke".to_owned()]),
        6 => ("houdini, arnold".to_owned(), vec!["houdini".to_owned(), "arnold".to_owned()]),
        _ => ("default".to_owned(), Vec::new()),
    };
    layer
}

/// One of the class's tags at least, in one of the spellings that databases hold. The allocation's
/// tag alone may lead to classes that the layer does not fit, but always to its own as well.
fn tags(draw: &mut StdRng, class: &HostClass) -> String {
    let of_class: Vec<&str> =
        std::iter::once(class.alloc.as_str()).chain(class.tags.iter().map(|(tag, _)| tag.as_str())).collect();
    let tag = of_class.choose(draw).copied().unwrap_or("general");
    match draw.random_range(0..10) {
        0 => format!("{tag} | no-such-tag"),
        1 => format!("no.such.tag|{tag}"),
        2 => format!(" {tag}| {}", class.alloc),
        _ => tag.to_owned(),
    }
}

/// `total` in `parts` shares of at least one each (if it goes round), of different size.
fn shares(draw: &mut StdRng, total: u32, parts: usize) -> Vec<u32> {
    let weights: Vec<u64> = (0..parts).map(|_| draw.random_range(1..=10)).collect();
    let weight: u64 = weights.iter().sum();
    let spare = u64::from(total).saturating_sub(parts as u64);
    let mut shares: Vec<u32> =
        weights.iter().map(|w| 1 + u32::try_from(spare * w / weight.max(1)).unwrap_or(u32::MAX)).collect();
    let given: u32 = shares.iter().sum();
    for (share, _) in shares.iter_mut().zip(0..total.saturating_sub(given)) {
        *share += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(spec: &FarmSpec) -> u32 {
        spec.jobs().flat_map(|job| &job.layers).map(|layer| layer.frames).sum()
    }

    #[test]
    fn a_demo_has_just_as_much_as_was_asked_for() {
        for (hosts, jobs, wanted) in [(1_200, 80, 6_000), (1, 1, 1), (3, 10, 4), (20, 7, 500), (0, 2, 200)] {
            let spec = FarmSpec::demo(hosts, jobs, wanted, 7);
            assert_eq!(spec.host_classes.iter().map(|class| class.hosts).sum::<usize>(), hosts);
            assert_eq!(frames(&spec), wanted);
            assert_eq!(spec.jobs().count(), jobs.min(wanted as usize));
            assert!(spec.jobs().flat_map(|job| &job.layers).all(|layer| layer.frames > 0));
        }
    }

    #[test]
    fn a_demo_is_drawn_from_its_seed() {
        assert_eq!(FarmSpec::demo(50, 10, 100, 3), FarmSpec::demo(50, 10, 100, 3));
        assert_ne!(FarmSpec::demo(50, 10, 100, 3), FarmSpec::demo(50, 10, 100, 4));
    }

    #[test]
    fn every_layer_of_a_demo_fits_an_empty_host() {
        for seed in 0..20 {
            let spec = FarmSpec::demo(usize::try_from(seed).expect("small") * 11 + 1, 40, 400, seed);
            for job in spec.jobs() {
                for layer in &job.layers {
                    assert!(spec.host_classes.iter().any(|class| fits(layer, job, class)), "{layer:?} of {job:?}");
                }
            }
        }
    }

    fn fits(layer: &LayerSpec, job: &JobSpec, class: &HostClass) -> bool {
        let carries = |tag: &str| class.alloc == tag || class.tags.iter().any(|(own, _)| own == tag);
        let cores = if layer.cores_min.get() > 0 { layer.cores_min } else { Cores::ONE };
        class.hosts > 0
            && layer.tags.split('|').any(|tag| carries(tag.trim()))
            && runs(class, job.os.as_deref())
            && (class.thread_mode != ThreadMode::All || layer.is_threadable)
            && cores <= class.total.cores
            && layer.cores_min + class.total.cores > Cores::ZERO
            && layer.memory <= class.total.memory
            && layer.gpus <= class.total.gpus
            && layer.gpu_memory <= class.total.gpu_memory
            && class.total.cores <= job.cores_max
            && class.total.gpus <= job.gpus_max
    }
}
