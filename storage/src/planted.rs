//! Bugs that the simulation must catch (`storage/PROTOCOL.md` §19). Each is one wrong line, planted by a test: a simulation that does
//! not find them proves nothing. Without the feature `planted-bugs` nothing of them is compiled.

/// A wrong line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A group counts as committed when the owner has it.
    AcknowledgeBeforeMirror = 1,
    /// A mirror becomes a member before it has what is committed.
    SwapBeforeCatchUp,
    /// A silent mirror stops to count before the metadata store has said so.
    NoStopDuringChange,
    /// A fenced copy goes on taking groups.
    PromiseNotKept,
    /// A mirror answers before its copy is durable.
    MirrorAnswersBeforeDurable,
    /// A restarted process is taken for the one before it. Planted in the simulated process.
    SameIncarnation,
    /// Readers see a batch when it is written.
    ServeAboveHighWatermark,
    /// A coordinator answers when its record is written.
    StateAnsweredBeforeCommit,
    /// A flush is committed wherever the WAL is flushed to.
    FlushWithoutStart,
    /// A manifest is committed whoever owns the slot.
    ManifestWithoutSlotKey,
    /// A flush that was refused is taken for done.
    ForeignFlushTakenForOwn,
    /// Chunks go before their object counts.
    TrimBeforeCommit,
    /// Objects go by their age alone.
    DeletionByGraceOnly,
    /// A WAL's files go because its key is absent.
    DeletionBecauseAbsent,
    /// What is applied is compared by position alone.
    AppliedWithoutEpoch,
    /// A span goes when its WAL is flushed.
    SpanDroppedBeforeApplied,
    /// A move of unknown outcome ends by a look at the slot key.
    MoveEndedByRead,
    /// A slot is given to a WAL that may be sealed.
    TargetNotCompared,
    /// A WAL is retired although a slot key names it.
    RetireWhileNamed,
    /// An owner that nobody confirms answers all the same.
    AnswerUnconfirmed,
    /// Replay takes a slot's records of every epoch.
    ReplayWithoutEpoch,
    /// Replay counts what is counted already.
    CountersAppliedTwice,
    /// A WAL is flushed although something earlier of its slots is not.
    FlushOutOfTurn,
    /// A metadata store that went back in time is taken for what it was.
    WayBackUnnoticed,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::AcknowledgeBeforeMirror,
        Self::SwapBeforeCatchUp,
        Self::NoStopDuringChange,
        Self::PromiseNotKept,
        Self::MirrorAnswersBeforeDurable,
        Self::SameIncarnation,
        Self::ServeAboveHighWatermark,
        Self::StateAnsweredBeforeCommit,
        Self::FlushWithoutStart,
        Self::ManifestWithoutSlotKey,
        Self::ForeignFlushTakenForOwn,
        Self::TrimBeforeCommit,
        Self::DeletionByGraceOnly,
        Self::DeletionBecauseAbsent,
        Self::AppliedWithoutEpoch,
        Self::SpanDroppedBeforeApplied,
        Self::MoveEndedByRead,
        Self::TargetNotCompared,
        Self::RetireWhileNamed,
        Self::AnswerUnconfirmed,
        Self::ReplayWithoutEpoch,
        Self::CountersAppliedTwice,
        Self::FlushOutOfTurn,
        Self::WayBackUnnoticed,
    ];
}

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants one bug in this process, or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::SeqCst);
}

/// Whether the bug is planted.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::SeqCst) == bug as u8
}

/// No bug is.
#[cfg(not(feature = "planted-bugs"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}
