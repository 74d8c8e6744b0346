//! How the types of the interface travel in the heads of calls, where minicbor has no form of its own for them.
//!
//! Rules for every type that derives `Encode` and `Decode` here: numbers of fields and variants are never reused. A new field
//! is an `Option` or has a default, so that a release without it is understood. A new variant is understood one release before
//! it is sent.

/// Shared text.
pub(crate) mod text {
    use std::sync::Arc;

    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        text: &Arc<str>,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(text)?.ok()
    }

    pub(crate) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Arc<str>, minicbor::decode::Error> {
        Ok(decoder.str()?.into())
    }
}

/// Shared texts, in order.
pub(crate) mod texts {
    use std::sync::Arc;

    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        texts: &[Arc<str>],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(texts.len() as u64)?;
        for text in texts {
            encoder.str(text)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<Arc<str>>, minicbor::decode::Error> {
        decoder.array_iter::<&str>()?.map(|text| text.map(Into::into)).collect()
    }
}

/// Shared text that may be absent.
pub(crate) mod optional_text {
    use std::sync::Arc;

    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    #[allow(clippy::ref_option, reason = "the derive passes a reference to the field")]
    pub(crate) fn encode<C, W: Write>(
        text: &Option<Arc<str>>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.encode_with(text.as_deref(), context)?.ok()
    }

    pub(crate) fn decode<C>(
        decoder: &mut Decoder<'_>,
        context: &mut C,
    ) -> Result<Option<Arc<str>>, minicbor::decode::Error> {
        Ok(decoder.decode_with::<C, Option<&str>>(context)?.map(Into::into))
    }

    #[allow(clippy::ref_option, reason = "the derive passes a reference to the field")]
    pub(crate) fn is_nil(text: &Option<Arc<str>>) -> bool {
        text.is_none()
    }

    #[allow(
        clippy::option_option,
        clippy::unnecessary_wraps,
        reason = "the derive asks whether there is a nil, and for it"
    )]
    pub(crate) fn nil() -> Option<Option<Arc<str>>> {
        Some(None)
    }
}

/// Bytes that the coordinator keeps for clients: small, so they are copied.
pub(crate) mod blob {
    use bytes::Bytes;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        blob: &Bytes,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(blob)?.ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Bytes, minicbor::decode::Error> {
        Ok(Bytes::copy_from_slice(decoder.bytes()?))
    }
}

/// Named blobs, in order.
pub(crate) mod named_blobs {
    use std::sync::Arc;

    use bytes::Bytes;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        blobs: &[(Arc<str>, Bytes)],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(blobs.len() as u64)?;
        for (name, blob) in blobs {
            encoder.array(2)?.str(name)?.bytes(blob)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<(Arc<str>, Bytes)>, minicbor::decode::Error> {
        let pairs = decoder.array_iter::<(&str, &minicbor::bytes::ByteSlice)>()?;
        pairs.map(|pair| pair.map(|(name, blob)| (name.into(), Bytes::copy_from_slice(blob)))).collect()
    }
}
