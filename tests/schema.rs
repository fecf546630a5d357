//! Our statement of Cuebot's schema against the lists of its columns and indexes, and its triggers.

use cue_scheduler::farm::schema::Generation;

use crate::support::database;

#[tokio::test]
async fn every_generation_can_be_created() {
    for generation in Generation::ALL {
        let database = database(generation).await;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&database.pool())
            .await
            .unwrap();
        assert!(tables >= 52, "{generation} has {tables} tables");
    }
}
