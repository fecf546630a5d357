//! Keys and names for everything in a description, and its contradictions.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::SeedError;
use super::keys::{Keys, addresses};
use super::seeded::{
    Seeded, SeededAlloc, SeededDept, SeededFolder, SeededHost, SeededJob, SeededLayer, SeededLimit, SeededShow,
    SeededSubscription,
};
use super::spec::{FarmSpec, FolderSpec, HostClass, HostNames, JobSpec, LayerSpec, SubscriptionSpec};
use crate::model::{DeptId, LayerId, LimitId, ShowId};

/// The description with a key for everything. Each list is as long as its namesake in `seeded`.
pub(super) struct FarmPlan<'s> {
    pub(super) spec: &'s FarmSpec,
    pub(super) seeded: Seeded,
    pub(super) hosts: Vec<&'s HostClass>,
    pub(super) subscriptions: Vec<&'s SubscriptionSpec>,
    pub(super) folders: Vec<&'s FolderSpec>,
    pub(super) jobs: Vec<PlannedJob<'s>>,
    pub(super) layers: Vec<PlannedLayer<'s>>,
    pub(super) bound_limits: Vec<(LayerId, LimitId)>,
    /// For rows that nobody refers to.
    pub(super) keys: Keys,
}

pub(super) struct PlannedJob<'s> {
    pub(super) spec: &'s JobSpec,
    pub(super) show_name: &'s str,
    pub(super) frames: u32,
}

pub(super) struct PlannedLayer<'s> {
    pub(super) spec: &'s LayerSpec,
    /// `layer.int_dispatch_order`, from 1; frames carry a copy.
    pub(super) dispatch_order: i32,
}

pub(super) fn plan(spec: &FarmSpec) -> Result<FarmPlan<'_>, SeedError> {
    let mut keys = Keys::new(spec.seed);
    let mut plan = FarmPlan {
        spec,
        seeded: Seeded {
            facility: keys.next(),
            facility_name: spec.facility.clone(),
            depts: Vec::new(),
            allocs: Vec::new(),
            hosts: Vec::new(),
            limits: Vec::new(),
            shows: Vec::new(),
            subscriptions: Vec::new(),
            folders: Vec::new(),
            jobs: Vec::new(),
            layers: Vec::new(),
            frames: 0,
        },
        hosts: Vec::new(),
        subscriptions: Vec::new(),
        folders: Vec::new(),
        jobs: Vec::new(),
        layers: Vec::new(),
        bound_limits: Vec::new(),
        keys,
    };
    check_unique(spec)?;
    let depts: BTreeSet<&str> =
        spec.shows.iter().flat_map(|show| &show.folders).map(|folder| folder.dept.as_str()).collect();
    for name in depts {
        let dept = SeededDept { id: plan.keys.next(), name: name.to_owned() };
        plan.seeded.depts.push(dept);
    }
    for alloc in &spec.allocs {
        let tag = alloc.tag.clone().unwrap_or_default();
        let alloc = SeededAlloc { id: plan.keys.next(), name: alloc.name.clone(), tag };
        plan.seeded.allocs.push(alloc);
    }
    for limit in &spec.limits {
        let limit = SeededLimit { id: plan.keys.next(), name: limit.name.clone() };
        plan.seeded.limits.push(limit);
    }
    plan.add_hosts()?;
    plan.add_shows()?;
    Ok(plan)
}

impl<'s> FarmPlan<'s> {
    fn add_hosts(&mut self) -> Result<(), SeedError> {
        let count = self.spec.host_classes.iter().map(|class| class.hosts).sum();
        let mut names = match &self.spec.host_names {
            HostNames::Loopback { first } => addresses(*first, count)?,
            HostNames::Numbered { prefix } => (1..=count).map(|number| format!("{prefix}{number:04}")).collect(),
        }
        .into_iter();
        for class in &self.spec.host_classes {
            let alloc = self.alloc(&class.alloc, || format!("host class \"{}\"", class.name))?.clone();
            for name in names.by_ref().take(class.hosts) {
                let mut tags: Vec<String> = Some(alloc.tag.clone()).filter(|tag| !tag.is_empty()).into_iter().collect();
                tags.extend(class.tags.iter().map(|(tag, _)| tag.clone()));
                tags.extend(class.has_hostname_tag.then(|| name.clone()));
                self.hosts.push(class);
                self.seeded.hosts.push(SeededHost {
                    id: self.keys.next(),
                    name,
                    alloc: alloc.id.clone(),
                    alloc_name: alloc.name.clone(),
                    total: class.total,
                    os: class.os.clone(),
                    thread_mode: class.thread_mode,
                    tags,
                    class: class.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn add_shows(&mut self) -> Result<(), SeedError> {
        let depts: HashMap<String, DeptId> =
            self.seeded.depts.iter().map(|dept| (dept.name.clone(), dept.id.clone())).collect();
        for show in &self.spec.shows {
            let id: ShowId = self.keys.next();
            let root_folder = self.keys.next();
            self.seeded.shows.push(SeededShow { id: id.clone(), name: show.name.clone(), root_folder });
            for subscription in &show.subscriptions {
                let alloc = self.alloc(&subscription.alloc, || format!("show \"{}\"", show.name))?.id.clone();
                let key = self.keys.next();
                self.subscriptions.push(subscription);
                self.seeded.subscriptions.push(SeededSubscription { id: key, show: id.clone(), alloc });
            }
            for folder in &show.folders {
                let seeded = SeededFolder {
                    id: self.keys.next(),
                    name: folder.name.clone(),
                    show: id.clone(),
                    dept: depts[&folder.dept].clone(),
                };
                for job in &folder.jobs {
                    self.add_job(job, &show.name, &seeded)?;
                }
                self.folders.push(folder);
                self.seeded.folders.push(seeded);
            }
        }
        Ok(())
    }

    fn add_job(&mut self, spec: &'s JobSpec, show_name: &'s str, folder: &SeededFolder) -> Result<(), SeedError> {
        let job = SeededJob {
            id: self.keys.next(),
            name: format!("{show_name}-{}-{}_{}", spec.shot, spec.user, spec.name),
            show: folder.show.clone(),
            folder: folder.id.clone(),
            dept: folder.dept.clone(),
        };
        let mut frames = 0;
        for (dispatch_order, layer) in (1..).zip(&spec.layers) {
            let id: LayerId = self.keys.next();
            for limit in &layer.limits {
                let bound = self.seeded.limits.iter().find(|seeded| seeded.name == *limit).ok_or_else(|| {
                    SeedError::Unknown { what: format!("layer \"{}\"", layer.name), kind: "limit", name: limit.clone() }
                })?;
                self.bound_limits.push((id.clone(), bound.id.clone()));
            }
            frames += layer.frames;
            self.layers.push(PlannedLayer { spec: layer, dispatch_order });
            let seeded = SeededLayer { id, name: layer.name.clone(), job: job.id.clone(), frames: layer.frames };
            self.seeded.layers.push(seeded);
        }
        self.seeded.frames += u64::from(frames);
        self.jobs.push(PlannedJob { spec, show_name, frames });
        self.seeded.jobs.push(job);
        Ok(())
    }

    fn alloc(&self, name: &str, what: impl FnOnce() -> String) -> Result<&SeededAlloc, SeedError> {
        let unknown = || SeedError::Unknown { what: what(), kind: "allocation", name: name.to_owned() };
        self.seeded.allocs.iter().find(|alloc| alloc.name == name).ok_or_else(unknown)
    }
}

/// Names that other parts of the description refer to by.
fn check_unique(spec: &FarmSpec) -> Result<(), SeedError> {
    unique("allocation", spec.allocs.iter().map(|alloc| alloc.name.as_str()))?;
    unique("limit", spec.limits.iter().map(|limit| limit.name.as_str()))?;
    for job in spec.jobs() {
        unique("layer", job.layers.iter().map(|layer| layer.name.as_str()))?;
    }
    Ok(())
}

fn unique<'n>(kind: &'static str, names: impl Iterator<Item = &'n str>) -> Result<(), SeedError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(SeedError::Twice { kind, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::farm::seed::ShowSpec;

    #[test]
    fn the_same_description_gives_the_same_keys_and_another_seed_others() {
        let seeded = |seed| plan(&FarmSpec { seed, ..FarmSpec::simple(3) }).expect("it is sound").seeded;
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
    }

    #[test]
    fn names_that_lead_nowhere_are_refused() {
        let refusal = |spec: FarmSpec| plan(&spec).err().expect("it contradicts itself").to_string();
        assert_eq!(
            refusal(FarmSpec::simple(1).each_host_class(|class| class.alloc = "cloud".into())),
            "host class \"render\" refers to allocation \"cloud\", which the description does not have"
        );
        assert_eq!(
            refusal(FarmSpec::simple(1).each_layer(|layer| layer.limits = vec!["nuke".into()])),
            "layer \"render\" refers to limit \"nuke\", which the description does not have"
        );
        let unsubscribable =
            ShowSpec::new("other").subscription("moon", crate::units::Cores(1), crate::units::Cores(1));
        assert!(refusal(FarmSpec::simple(1).show(unsubscribable)).starts_with("show \"other\" refers to allocation"));
        assert!(matches!(plan(&FarmSpec::simple(1).limit("a", 1).limit("a", 2)), Err(SeedError::Twice { .. })));
    }
}
