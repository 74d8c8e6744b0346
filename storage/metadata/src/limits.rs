//! What every store refuses, because etcd would: nothing may be found only when the store is exchanged.

use std::collections::HashSet;

use crate::store::{Compare, MetadataError, Select, TRANSACTION_OPERATIONS_MAX, Transaction, Write};

/// The bytes written by one transaction at most: etcd's default `--max-request-bytes`.
const TRANSACTION_BYTES_MAX: usize = 1_572_864;

/// Refuses too many selects.
pub(crate) fn check_selects(selects: &[Select]) -> Result<(), MetadataError> {
    if selects.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(invalid(format!("{} selects, {TRANSACTION_OPERATIONS_MAX} allowed", selects.len())));
    }
    Ok(())
}

/// Refuses too many operations, empty keys, keys written twice and too many bytes.
pub(crate) fn check_transaction(transaction: &Transaction) -> Result<(), MetadataError> {
    let (compares, writes) = (&transaction.compares, &transaction.writes);
    if compares.len() > TRANSACTION_OPERATIONS_MAX || writes.len() > TRANSACTION_OPERATIONS_MAX {
        let counts = format!("{} compares and {} writes", compares.len(), writes.len());
        return Err(invalid(format!("{counts}, {TRANSACTION_OPERATIONS_MAX} of each allowed")));
    }
    if compares.iter().map(compare_key).chain(writes.iter().map(write_key)).any(str::is_empty) {
        return Err(invalid("a key is empty".to_owned()));
    }
    let mut written = HashSet::with_capacity(writes.len());
    if let Some(twice) = writes.iter().map(write_key).find(|key| !written.insert(*key)) {
        return Err(invalid(format!("key `{twice}` is written twice")));
    }
    let bytes: usize = writes.iter().map(write_bytes).sum();
    if bytes > TRANSACTION_BYTES_MAX {
        return Err(invalid(format!("{bytes} bytes written, {TRANSACTION_BYTES_MAX} allowed")));
    }
    Ok(())
}

fn compare_key(compare: &Compare) -> &str {
    match compare {
        Compare::Absent(key)
        | Compare::Present(key)
        | Compare::Unchanged(key, _)
        | Compare::Value(key, _) => key,
    }
}

fn write_key(write: &Write) -> &str {
    match write {
        Write::Put(key, _) | Write::Delete(key) => key,
    }
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => key.len() + value.len(),
        Write::Delete(key) => key.len(),
    }
}

fn invalid(reason: String) -> MetadataError {
    MetadataError::Invalid { reason }
}
