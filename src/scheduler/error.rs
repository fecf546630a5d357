//! What ends a pass early.

use crate::booking::BookingError;
use crate::clusters::SelectionError;
use crate::db::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("cannot read the farm")]
    Read(#[from] StoreError),
    #[error("cannot book")]
    Book(#[from] BookingError),
    #[error("Failed to load the clusters")]
    Clusters(#[from] SelectionError),
}

impl PassError {
    /// The database is away; it may come back without anybody's doing here.
    pub fn is_database_away(&self) -> bool {
        match self {
            Self::Read(error) | Self::Clusters(SelectionError::Store(error)) => {
                // A password that was changed may be told us later.
                error.is_connection_lost() || error.is_login_refused()
            }
            Self::Book(BookingError::Connection { .. }) => true,
            Self::Book(_) | Self::Clusters(_) => false,
        }
    }
}
