//! Keys and users reach the cache.
