//! Clusters and topics reach the cache.
