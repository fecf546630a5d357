//! Work that is not booked as Cuebot would book it, or not whole.

use super::finding::{Farm, Finding, Found, Selected, known, list};
use crate::db::check::Session;
use crate::db::{self, DeclaredLicences, LayerChunks, LooseTags, SlotWork, Store};
use crate::rqd::unrendered_numbers;
use crate::units::{counted, listed, number_runs};

/// Runs of numbers that are named of one layer.
const RUNS_MAX: usize = 20;

/// Layers whose tags no host carries, and that Cuebot finds hosts for all the same.
pub(super) async fn tags(session: &mut Session, farm: &Selected) -> Found {
    let loose = db::loose_tags(session, &[], &known(farm)?.shows).await?;
    if loose.is_empty() {
        return Ok(Finding::ok("Cuebot finds no hosts for layers but by whole tags"));
    }
    let each = loose.iter().map(|LooseTags { job_name, layer_name, tags, near, .. }| {
        format!("{job_name}/{layer_name} asks for `{tags}` (near `{}`)", near.join("`, `"))
    });
    let found =
        format!("{} whose tags only Cuebot's regular expression finds: {}", counted(loose.len(), "layer"), list(each));
    Ok(Finding::warning(found, "give these layers tags that hosts carry: here they wait for ever"))
}

/// Slots, which nobody here books.
pub(super) async fn slots(session: &mut Session, store: Option<&Store>, farm: &Selected) -> Found {
    let Farm { facilities, shows, .. } = known(farm)?;
    if !store.is_some_and(|store| store.features().has_slots) {
        return Ok(Finding::ok("the schema has none"));
    }
    let SlotWork { columns, hosts, layers } = db::slot_work(session, facilities, shows).await?;
    let columns = list(columns);
    if hosts.is_empty() && layers.is_empty() {
        return Ok(Finding::ok(format!("the schema has {columns}; no host and no waiting layer uses them")));
    }
    let left_out = [("hosts with a limit", hosts), ("layers that ask for them", layers)];
    let left_out = left_out.into_iter().filter(|(_, names)| !names.is_empty());
    let left_out: Vec<String> =
        left_out.map(|(what, names)| format!("{} {what}: {}", names.len(), list(names))).collect();
    let found = format!("slots ({columns}) are not booked yet; left out: {}", left_out.join("; "));
    Ok(Finding::warning(
        found,
        "let Cuebot dispatch shows with such layers, and keep such hosts out of these allocations",
    ))
}

/// Layers whose environment declares licences.
pub(super) async fn licences(session: &mut Session, farm: &Selected) -> Found {
    let declared = db::declared_licences(session, &known(farm)?.shows).await?;
    let each =
        declared.iter().map(|DeclaredLicences { show, layers }| format!("{show} ({})", counted(*layers, "layer")));
    let found =
        if declared.is_empty() { String::new() } else { format!("CUE_LICENSES is set in layers of {}", list(each)) };
    Ok(Finding::warning_of(
        found,
        "no environment declares any",
        "only Cuebot's own planner counts licences by it: bind the layers to limits, or set scheduler.cue_licenses to \
         refuse",
    ))
}

/// Numbers of layers' ranges that no frame renders.
pub(super) async fn chunks(session: &mut Session, farm: &Selected) -> Found {
    let layers = db::layer_chunks(session, &[], &known(farm)?.shows).await?;
    let each = layers.iter().filter_map(|LayerChunks { job_name, layer_name, range, chunk_size, frames, .. }| {
        let missing = unrendered_numbers(range, *chunk_size, frames).filter(|missing| !missing.is_empty())?;
        let missing = listed(number_runs(&missing), RUNS_MAX);
        Some(format!("{missing} of {job_name}/{layer_name} (`{range}` in chunks of {chunk_size})"))
    });
    let missing: Vec<String> = each.collect();
    let found =
        if missing.is_empty() { String::new() } else { format!("numbers that no frame renders: {}", list(missing)) };
    Ok(Finding::warning_of(
        found,
        "every number of a range is in a frame",
        "submit these numbers once more: Cuebot made no frames for them",
    ))
}
