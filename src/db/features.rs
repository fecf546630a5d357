//! What a database offers.

/// What the generations of Cuebot's schema add. Column, table or index presence decides, since a
/// database may be migrated by other means and carries no reliable version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a schema")]
pub struct Features {
    /// `show.b_scheduler_managed`: which shows Cuebot leaves to a scheduler.
    pub has_scheduler_managed: bool,
    /// `layer.ts_start_after`: delayed layers.
    pub has_start_after: bool,
    /// `frame.ts_eligible` and `layer.ts_eligible`: when work became ready.
    pub has_ts_eligible: bool,
    /// `layer.int_stuck_detection_llu`: minutes without progress before an agent ends a frame.
    pub has_stuck_detection: bool,
    /// `limit_record.str_type` and table `limit_host`: typed limits with reported use.
    pub has_limit_types: bool,
    /// Any of the columns of slots, which are booked beside cores and memory: `layer.int_slots_required`,
    /// `host.int_concurrent_slots_limit`, `proc.int_slots_reserved`.
    pub has_slots: bool,
    /// Table `frame_history_queue`: run times lag behind by minutes.
    pub has_history_queue: bool,
    /// Index `i_frame_layer_dispatch_waiting`: next frames of a layer without reading the others.
    pub has_frame_layer_index: bool,
}

impl Features {
    /// Which Cuebots this schema fits. The schema bounds Cuebot's version from above, it proves
    /// nothing about the running one.
    pub const fn generation_guess(&self) -> &'static str {
        if self.has_history_queue || self.has_frame_layer_index {
            "Cuebot 1.37 or later, or an older one on a migrated database"
        } else if self.has_limit_types {
            "Cuebot of autumn 2026: typed limits, per-show scheduler flag"
        } else if self.has_scheduler_managed {
            "Cuebot of summer 2026: per-show scheduler flag"
        } else {
            "Cuebot up to May 2026: exclusion list, no per-show scheduler flag"
        }
    }
}
