//! What crosses rooms, against a real PostgreSQL and real gRPC. One binary, one link.
