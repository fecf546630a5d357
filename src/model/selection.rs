//! Which clusters an operator hands to this scheduler.

use smart_default::SmartDefault;

/// Narrowing by name. Any entry in `alloc_tags` or `manual_tags` turns "load everything" off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only clusters of this facility; `None` = of every facility.
    pub facility: Option<String>,
    /// Allocation clusters by show and allocation tag.
    pub alloc_tags: Vec<AllocTag>,
    /// Host tags of any type that make one cluster per show and facility, never cut into chunks.
    pub manual_tags: Vec<String>,
    /// Tags dropped from everything above and from what is loaded when nothing is named.
    pub ignore_tags: Vec<String>,
}

/// A show by name and the tag (`alloc.str_tag`, not the name) of an allocation it subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocTag {
    pub show: String,
    pub tag: String,
}

/// How many tags a tag cluster may hold when everything is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SmartDefault)]
pub struct TagChunkSizes {
    /// Manual tags, and hardware tags likewise. 0 counts as 1.
    #[default(100)]
    pub manual: usize,
    /// 0 counts as 1.
    #[default(300)]
    pub hostname: usize,
}

impl Selection {
    /// Nothing is named, so everything of the facility is taken.
    pub fn is_everything(&self) -> bool {
        self.alloc_tags.is_empty() && self.manual_tags.is_empty()
    }
}
