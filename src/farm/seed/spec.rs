//! The description of a farm, with defaults so that a test names only what matters to it.

use std::net::Ipv4Addr;

use crate::model::{TagKind, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// A whole farm. Things refer to each other by name.
#[derive(Clone, Debug, PartialEq)]
pub struct FarmSpec {
    /// All keys follow from it.
    pub seed: u64,
    pub facility: String,
    pub allocs: Vec<AllocSpec>,
    pub host_names: HostNames,
    pub host_classes: Vec<HostClass>,
    pub limits: Vec<LimitSpec>,
    pub shows: Vec<ShowSpec>,
    /// Flags the shows for a scheduler, where the schema has such a flag.
    pub is_scheduler_managed: bool,
}

/// How hosts are called, in the order of their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostNames {
    /// One loopback address each, so that a thousand simulated agents share one port and no name
    /// needs resolving.
    Loopback { first: Ipv4Addr },
    /// `prefix` and a number from 1, four places wide.
    Numbered { prefix: String },
}

/// A pool of hosts. Its full name is `facility.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocSpec {
    pub name: String,
    /// The tag that its hosts carry; another allocation may have the same.
    pub tag: Option<String>,
}

/// Hosts that are all alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostClass {
    pub name: String,
    pub hosts: usize,
    pub alloc: String,
    /// All idle at first; the machine measures as much free memory.
    pub total: Amounts,
    /// `host_stat.str_os`: a comma list.
    pub os: String,
    pub thread_mode: ThreadMode,
    /// Besides the allocation's.
    pub tags: Vec<(String, TagKind)>,
    /// Whether each host carries its own name as a tag.
    pub has_hostname_tag: bool,
}

/// A named cap on running frames, or on hosts that run them where the schema knows such limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    pub name: String,
    pub max: Option<i32>,
    pub counts_hosts: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ShowSpec {
    pub name: String,
    pub is_active: bool,
    pub subscriptions: Vec<SubscriptionSpec>,
    pub folders: Vec<FolderSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSpec {
    pub alloc: String,
    pub size: Cores,
    pub burst: Cores,
}

/// A folder directly under the show's root folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderSpec {
    pub name: String,
    pub dept: String,
    /// `None` = no cap.
    pub cores_max: Option<Cores>,
    /// `None` = no cap.
    pub gpus_max: Option<Gpus>,
    pub jobs: Vec<JobSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The last part of the job's name; the show, shot and user come before it.
    pub name: String,
    pub shot: String,
    pub user: String,
    pub uid: Option<i64>,
    pub priority: i32,
    pub cores_max: Cores,
    pub gpus_max: Gpus,
    /// `None` fits any host.
    pub os: Option<String>,
    pub is_paused: bool,
    pub is_auto_book: bool,
    pub retries_max: i16,
    pub log_dir: String,
    pub environment: Vec<(String, String)>,
    pub layers: Vec<LayerSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    pub name: String,
    /// What the agent runs; Cuebot's tokens (`#IFRAME#` and so on) are replaced at launch.
    pub command: String,
    /// Rows of `frame`; each covers `chunk_size` frame numbers.
    pub frames: u32,
    /// The number of the first frame; may be negative.
    pub first_frame: i32,
    pub chunk_size: u32,
    /// 0 asks for a whole host, -n for a whole host but n.
    pub cores_min: Cores,
    /// Zero = no ceiling.
    pub cores_max: Cores,
    pub memory: Kib,
    pub gpus: Gpus,
    pub gpu_memory: Kib,
    /// `layer.str_tags`: tags joined by `|`, blanks at will.
    pub tags: String,
    pub is_threadable: bool,
    /// `layer.str_services`: a comma list.
    pub services: String,
    pub limits: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl FarmSpec {
    /// One host of eight cores and one job of one layer with `frames` frames of one core each.
    #[must_use]
    pub fn simple(frames: u32) -> Self {
        let layer = LayerSpec::new("render").frames(frames);
        let folder = FolderSpec::new("comp").job(JobSpec::new("shade").layer(layer));
        let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
        Self::empty().alloc("general", "general").host_class(HostClass::new("render", 1)).show(show.folder(folder))
    }

    /// A facility with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            seed: 1,
            facility: "local".to_owned(),
            allocs: Vec::new(),
            host_names: HostNames::Loopback { first: Ipv4Addr::new(127, 1, 0, 1) },
            host_classes: Vec::new(),
            limits: Vec::new(),
            shows: Vec::new(),
            is_scheduler_managed: true,
        }
    }

    #[must_use]
    pub fn alloc(mut self, name: &str, tag: &str) -> Self {
        self.allocs.push(AllocSpec { name: name.to_owned(), tag: Some(tag.to_owned()) });
        self
    }

    #[must_use]
    pub fn host_class(mut self, class: HostClass) -> Self {
        self.host_classes.push(class);
        self
    }

    #[must_use]
    pub fn limit(mut self, name: &str, max: i32) -> Self {
        self.limits.push(LimitSpec { name: name.to_owned(), max: Some(max), counts_hosts: false });
        self
    }

    /// A limit on hosts, where the schema knows them; on frames elsewhere.
    #[must_use]
    pub fn host_limit(mut self, name: &str, max: i32) -> Self {
        self.limits.push(LimitSpec { name: name.to_owned(), max: Some(max), counts_hosts: true });
        self
    }

    #[must_use]
    pub fn show(mut self, show: ShowSpec) -> Self {
        self.shows.push(show);
        self
    }

    /// Changes every host class alike.
    #[must_use]
    pub fn each_host_class(mut self, change: impl FnMut(&mut HostClass)) -> Self {
        self.host_classes.iter_mut().for_each(change);
        self
    }

    /// Changes every show alike.
    #[must_use]
    pub fn each_show(mut self, change: impl FnMut(&mut ShowSpec)) -> Self {
        self.shows.iter_mut().for_each(change);
        self
    }

    /// Changes every subscription alike.
    #[must_use]
    pub fn each_subscription(self, mut change: impl FnMut(&mut SubscriptionSpec)) -> Self {
        self.each_show(|show| show.subscriptions.iter_mut().for_each(&mut change))
    }

    /// Changes every folder alike.
    #[must_use]
    pub fn each_folder(self, mut change: impl FnMut(&mut FolderSpec)) -> Self {
        self.each_show(|show| show.folders.iter_mut().for_each(&mut change))
    }

    /// Changes every job alike.
    #[must_use]
    pub fn each_job(self, mut change: impl FnMut(&mut JobSpec)) -> Self {
        self.each_folder(|folder| folder.jobs.iter_mut().for_each(&mut change))
    }

    /// Changes every layer alike.
    #[must_use]
    pub fn each_layer(self, mut change: impl FnMut(&mut LayerSpec)) -> Self {
        self.each_job(|job| job.layers.iter_mut().for_each(&mut change))
    }

    /// Sets the number of hosts of every class.
    #[must_use]
    pub fn hosts(self, hosts: usize) -> Self {
        self.each_host_class(|class| class.hosts = hosts)
    }

    /// Gives every layer this command.
    #[must_use]
    pub fn command(self, command: &str) -> Self {
        self.each_layer(|layer| command.clone_into(&mut layer.command))
    }

    /// Gives every job this log folder.
    #[must_use]
    pub fn log_dir(self, log_dir: &str) -> Self {
        self.each_job(|job| log_dir.clone_into(&mut job.log_dir))
    }

    #[must_use]
    pub fn host_names(mut self, host_names: HostNames) -> Self {
        self.host_names = host_names;
        self
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobSpec> {
        self.shows.iter().flat_map(|show| &show.folders).flat_map(|folder| &folder.jobs)
    }
}

impl HostClass {
    /// Hosts of eight cores and 32 GiB without GPUs, in the allocation "general".
    #[must_use]
    pub fn new(name: &str, hosts: usize) -> Self {
        Self {
            name: name.to_owned(),
            hosts,
            alloc: "general".to_owned(),
            total: Amounts { cores: Cores::whole(8), memory: Kib::gib(32), ..Amounts::default() },
            os: "rhel9".to_owned(),
            thread_mode: ThreadMode::Auto,
            tags: Vec::new(),
            has_hostname_tag: true,
        }
    }

    #[must_use]
    pub fn alloc(mut self, alloc: &str) -> Self {
        alloc.clone_into(&mut self.alloc);
        self
    }

    #[must_use]
    pub const fn cores(mut self, cores: Cores) -> Self {
        self.total.cores = cores;
        self
    }

    #[must_use]
    pub const fn memory(mut self, memory: Kib) -> Self {
        self.total.memory = memory;
        self
    }

    #[must_use]
    pub const fn gpus(mut self, gpus: i64, gpu_memory: Kib) -> Self {
        self.total.gpus = Gpus(gpus);
        self.total.gpu_memory = gpu_memory;
        self
    }

    #[must_use]
    pub fn os(mut self, os: &str) -> Self {
        os.clone_into(&mut self.os);
        self
    }

    #[must_use]
    pub const fn thread_mode(mut self, mode: ThreadMode) -> Self {
        self.thread_mode = mode;
        self
    }

    #[must_use]
    pub fn tag(mut self, tag: &str, kind: TagKind) -> Self {
        self.tags.push((tag.to_owned(), kind));
        self
    }
}

impl ShowSpec {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), is_active: true, subscriptions: Vec::new(), folders: Vec::new() }
    }

    #[must_use]
    pub fn subscription(mut self, alloc: &str, size: Cores, burst: Cores) -> Self {
        self.subscriptions.push(SubscriptionSpec { alloc: alloc.to_owned(), size, burst });
        self
    }

    #[must_use]
    pub fn folder(mut self, folder: FolderSpec) -> Self {
        self.folders.push(folder);
        self
    }
}

impl FolderSpec {
    /// A folder without caps.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), dept: "dept".to_owned(), cores_max: None, gpus_max: None, jobs: Vec::new() }
    }

    #[must_use]
    pub fn dept(mut self, dept: &str) -> Self {
        dept.clone_into(&mut self.dept);
        self
    }

    #[must_use]
    pub const fn cores_max(mut self, cores: Cores) -> Self {
        self.cores_max = Some(cores);
        self
    }

    #[must_use]
    pub const fn gpus_max(mut self, gpus: Gpus) -> Self {
        self.gpus_max = Some(gpus);
        self
    }

    #[must_use]
    pub fn job(mut self, job: JobSpec) -> Self {
        self.jobs.push(job);
        self
    }
}

impl JobSpec {
    /// A job of priority 1 that fits any operating system, with the schema's default caps.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shot: "sh010".to_owned(),
            user: "artist".to_owned(),
            uid: Some(1_000),
            priority: 1,
            cores_max: Cores(10_000),
            gpus_max: Gpus(100),
            os: None,
            is_paused: false,
            is_auto_book: true,
            retries_max: 3,
            log_dir: "/tmp/cue-scheduler/logs".to_owned(),
            environment: Vec::new(),
            layers: Vec::new(),
        }
    }

    #[must_use]
    pub const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    #[must_use]
    pub const fn cores_max(mut self, cores: Cores) -> Self {
        self.cores_max = cores;
        self
    }

    #[must_use]
    pub fn os(mut self, os: &str) -> Self {
        self.os = Some(os.to_owned());
        self
    }

    #[must_use]
    pub fn layer(mut self, layer: LayerSpec) -> Self {
        self.layers.push(layer);
        self
    }
}

impl LayerSpec {
    /// A threadable layer of one frame that takes one core and 1 GiB of a host tagged "general".
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            command: "true".to_owned(),
            frames: 1,
            first_frame: 1,
            chunk_size: 1,
            cores_min: Cores::ONE,
            cores_max: Cores::ZERO,
            memory: Kib::gib(1),
            gpus: Gpus::ZERO,
            gpu_memory: Kib::ZERO,
            tags: "general".to_owned(),
            is_threadable: true,
            services: "default".to_owned(),
            limits: Vec::new(),
            environment: Vec::new(),
        }
    }

    #[must_use]
    pub const fn frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    #[must_use]
    pub const fn cores(mut self, cores: Cores) -> Self {
        self.cores_min = cores;
        self
    }

    #[must_use]
    pub const fn memory(mut self, memory: Kib) -> Self {
        self.memory = memory;
        self
    }

    #[must_use]
    pub const fn gpus(mut self, gpus: i64, gpu_memory: Kib) -> Self {
        self.gpus = Gpus(gpus);
        self.gpu_memory = gpu_memory;
        self
    }

    #[must_use]
    pub fn tags(mut self, tags: &str) -> Self {
        tags.clone_into(&mut self.tags);
        self
    }

    #[must_use]
    pub const fn single_threaded(mut self) -> Self {
        self.is_threadable = false;
        self
    }

    #[must_use]
    pub const fn chunk_size(mut self, chunk_size: u32) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    #[must_use]
    pub fn limit(mut self, name: &str) -> Self {
        self.limits.push(name.to_owned());
        self
    }

    #[must_use]
    pub fn command(mut self, command: &str) -> Self {
        command.clone_into(&mut self.command);
        self
    }

    /// `layer.str_range`: every number that the frames cover.
    pub(super) fn range(&self) -> String {
        let first = i64::from(self.first_frame);
        match i64::from(self.frames) * i64::from(self.chunk_size) {
            0 | 1 => first.to_string(),
            numbers => format!("{first}-{}", first + numbers - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_covers_every_frame_of_every_chunk() {
        assert_eq!(LayerSpec::new("a").range(), "1");
        assert_eq!(LayerSpec::new("a").frames(10).range(), "1-10");
        assert_eq!(LayerSpec::new("a").frames(3).chunk_size(5).range(), "1-15");
        assert_eq!(LayerSpec { first_frame: -5, ..LayerSpec::new("a").frames(3) }.range(), "-5--3");
    }
}
