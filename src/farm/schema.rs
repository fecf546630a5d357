//! Our own statement of Cuebot's schema, with the effects of its triggers.
//!
//! Cuebot's database changed a good deal in the year of this scheduler, and farms run every stage of
//! it. A database is built from a base and one additive step per generation, so a test can ask for
//! the stage that it is about.
//!
//! Invariants:
//! - tables, columns, indexes, and the effects and refusals of triggers are Cuebot's, to the letter of
//!   messages that somebody may match on; what is not told of Cuebot stays out;
//! - nothing is seeded but what Cuebot's own migrations bring: locks and the retry limit;
//! - `int_stuck_detection_llu` is in no generation, since it is not certain to have been released.

use sqlx::{Connection as _, PgConnection};
use strum::{Display, EnumString};

/// A stage of Cuebot's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum Generation {
    /// December 2025 (migration 34): exclusion list only.
    G0,
    /// May 2026 (43): eligibility times, time span of a layer.
    G1,
    /// June 2026 (45): the flag of a show that an outside scheduler serves it.
    G2,
    /// August 2026 (47): delayed layers.
    G3,
    /// September 2026 (49): limits of hosts, reported use, enforcement.
    G4,
    /// October 2026 (51): queued frame history.
    G5,
}

impl Generation {
    pub const ALL: [Self; 6] = [Self::G0, Self::G1, Self::G2, Self::G3, Self::G4, Self::G5];

    /// The statements that make this generation out of the one before.
    const fn step(self) -> &'static str {
        match self {
            Self::G0 => concat!(
                include_str!("sql/g0_tables.sql"),
                include_str!("sql/g0_indexes.sql"),
                include_str!("sql/g0_routines.sql"),
                include_str!("sql/g0_triggers.sql"),
            ),
            Self::G1 => include_str!("sql/g1.sql"),
            Self::G2 => include_str!("sql/g2.sql"),
            Self::G3 => include_str!("sql/g3.sql"),
            Self::G4 => include_str!("sql/g4.sql"),
            Self::G5 => include_str!("sql/g5.sql"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot create Cuebot's schema, step {step} of {generation}")]
    Step { generation: Generation, step: Generation, source: sqlx::Error },
    #[error("cannot create Cuebot's schema {generation} in one transaction")]
    Transaction { generation: Generation, source: sqlx::Error },
}

/// Creates the schema in an empty database: all of it or nothing.
pub async fn create(connection: &mut PgConnection, generation: Generation) -> Result<(), SchemaError> {
    take_steps(connection, None, generation).await
}

/// Makes a later generation out of one that is there, as Cuebot does when it is updated.
pub async fn migrate(connection: &mut PgConnection, from: Generation, to: Generation) -> Result<(), SchemaError> {
    take_steps(connection, Some(from), to).await
}

async fn take_steps(
    connection: &mut PgConnection,
    from: Option<Generation>,
    generation: Generation,
) -> Result<(), SchemaError> {
    let failed = |source| SchemaError::Transaction { generation, source };
    let mut transaction = connection.begin().await.map_err(failed)?;
    for step in Generation::ALL.into_iter().filter(|step| Some(*step) > from && *step <= generation) {
        sqlx::raw_sql(step.step()).execute(&mut *transaction).await.map_err(|source| SchemaError::Step {
            generation,
            step,
            source,
        })?;
    }
    transaction.commit().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::Generation;

    #[test]
    fn names_are_read_back() {
        for generation in Generation::ALL {
            assert_eq!(generation.to_string().parse::<Generation>().ok(), Some(generation));
            assert_eq!(generation.to_string().to_uppercase().parse::<Generation>().ok(), Some(generation));
        }
        assert!("g6".parse::<Generation>().is_err());
    }
}
