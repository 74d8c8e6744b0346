//! How much one connection and one server hold at most.

/// Bounds of the wire. Both ends check their own.
#[derive(Debug, Clone, Copy)]
pub struct WireLimits {
    /// The longest frame, in bytes. Default 128 MiB: Kafka's largest request (`socket.request.max.bytes`, 100 MiB) with room
    /// for what surrounds it. Higher: one peer holds more memory; lower: large batches are refused.
    pub frame_bytes_max: u32,
    /// Bytes queued for writing on one connection; a frame more is refused (calls) or stops reading (answers). Default 64 MiB.
    /// Higher: a slow peer holds more memory; lower: bursts are refused although the peer is well.
    pub queued_bytes_max: usize,
    /// Calls in flight on one connection. Default 16,384, because every waiting consumer holds one (`await_data`). Higher: more
    /// memory for bookkeeping; lower: consumers are turned away.
    pub calls_max: usize,
    /// Connections a server serves at once. Default 4,096.
    pub connections_max: usize,
    /// Bytes of requests a server holds at once, over all connections. Default 512 MiB. At the limit sockets stay unread.
    pub in_flight_bytes_max: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 128 << 20,
            queued_bytes_max: 64 << 20,
            calls_max: 16_384,
            connections_max: 4_096,
            in_flight_bytes_max: 512 << 20,
        }
    }
}
