//! Bodies unpacked, for people to read.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use brotli_decompressor::Decompressor;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What lies in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// As far as it could be unpacked.
    pub bytes: Bytes,
    /// There is more: beyond the limit, or beyond the end of what was given.
    pub cut: bool,
    /// Why it could not be unpacked further, one line.
    pub trouble: Option<String>,
}

/// Unpacks a body as its `Content-Encoding` says, up to `limit` bytes: a small body can be gigabytes
/// unpacked. Without that field the body is what it is.
pub fn decoded(body: &Bytes, fields: &HeaderMap, limit: usize) -> Decoded {
    let all = fields.get_all(CONTENT_ENCODING);
    let codings: Vec<String> = all
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|word| String::from_utf8_lossy(word).trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty() && word != "identity")
        .collect();
    if codings.is_empty() {
        return Decoded {
            bytes: body.slice(..body.len().min(limit)),
            cut: body.len() > limit,
            trouble: None,
        };
    }
    if codings.len() > MOST_CODINGS {
        return odd(body, format!("packed {} times over", codings.len()));
    }
    let ran_out = Cell::new(false);
    let mut reader: Box<dyn Read + '_> = Box::new(Source {
        rest: body,
        ran_out: &ran_out,
    });
    // The last one listed was put on last.
    for coding in codings.iter().rev() {
        reader = match coding.as_str() {
            "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(reader)),
            "deflate" => match deflate(reader) {
                Ok(reader) => reader,
                Err(error) => return odd(body, error.to_string()),
            },
            "br" => Box::new(Decompressor::new(reader, PIECE)),
            "zstd" => Box::new(Zstd::new(reader)),
            other => return odd(body, format!("{other} is a coding unknown here")),
        };
    }
    read(reader, &ran_out, limit)
}

/// Nobody packs a body more often.
const MOST_CODINGS: usize = 4;

const PIECE: usize = 4096;

fn odd(body: &Bytes, trouble: String) -> Decoded {
    Decoded {
        bytes: body.clone(),
        cut: false,
        trouble: Some(trouble),
    }
}

fn read(mut reader: impl Read, ran_out: &Cell<bool>, limit: usize) -> Decoded {
    let mut bytes = Vec::new();
    let mut piece = [0; PIECE];
    let (cut, trouble) = loop {
        match reader.read(&mut piece) {
            Ok(0) => break (false, None),
            Ok(n) if n > limit - bytes.len() => {
                bytes.extend_from_slice(&piece[..limit - bytes.len()]);
                break (true, None);
            }
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if ran_out.get() => break (true, None),
            Err(error) => break (false, Some(error.to_string())),
        }
    };
    Decoded {
        bytes: bytes.into(),
        cut,
        trouble,
    }
}

/// The body, which knows whether more of it was wanted than there is. Decoders disagree on what error that
/// is.
struct Source<'a> {
    rest: &'a [u8],
    ran_out: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !out.is_empty() {
            self.ran_out.set(true);
        }
        self.rest.read(out)
    }
}

/// RFC 9110 §8.4.1.2 means zlib; some senders leave its head out.
fn deflate<'a>(mut reader: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut head)?;
    let is_zlib = match head[..] {
        [first, second] => {
            first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
        }
        _ => false,
    };
    let whole = io::Cursor::new(head).chain(reader);
    Ok(match is_zlib {
        true => Box::new(ZlibDecoder::new(whole)),
        false => Box::new(DeflateDecoder::new(whole)),
    })
}

/// Frames of Zstandard one after the other, as RFC 8878 §3 allows.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

/// How far back a frame may reach: 8 MiB, the limit of RFC 9659.
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self {
            source: BufReader::new(source),
            decoder,
            within: false,
        }
    }

    /// False if there is none.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.within = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(out)? {
                0 => self.within = false,
                n => return Ok(n),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const TEXT: &[u8] = b"what a visitor said, and said again, and said again";

    /// `TEXT` as another program has packed it.
    const BROTLI: [u8; 36] = [
        0x1b, 0x32, 0x00, 0x00, 0x14, 0xa1, 0xd2, 0x1b, 0x24, 0x8c, 0xcc, 0x0d, 0x6c, 0xc0, 0x01,
        0x7b, 0x90, 0x04, 0xb8, 0xd9, 0x95, 0xaa, 0xad, 0x50, 0xd8, 0x09, 0x40, 0xd0, 0xc5, 0x81,
        0xfa, 0xc4, 0x3c, 0xa2, 0x7c, 0x1d,
    ];

    fn of(coding: &'static str, body: impl Into<Bytes>, limit: usize) -> Decoded {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        decoded(&body.into(), &fields, limit)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn every_coding_of_the_web_is_known() {
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZIP", gzip(TEXT)),
            ("deflate", zlib(TEXT)),
            ("deflate", raw_deflate(TEXT)),
            ("br", BROTLI.to_vec()),
            ("zstd", zstd(TEXT)),
            ("deflate, gzip", gzip(&zlib(TEXT))),
            ("gzip, zstd", zstd(&gzip(TEXT))),
            ("identity", TEXT.to_vec()),
        ] {
            let found = of(coding, body, 1000);
            assert_eq!(found.bytes, TEXT, "{coding}: {:?}", found.trouble);
            assert!(!found.cut && found.trouble.is_none(), "{coding}");
        }
    }

    #[test]
    fn frames_follow_one_another() {
        let skipped = [
            &0x184d_2a50_u32.to_le_bytes()[..],
            &3_u32.to_le_bytes(),
            b"abc",
        ]
        .concat();
        let frames = [zstd(TEXT), skipped, zstd(TEXT)].concat();
        assert_eq!(of("zstd", frames, 1000).bytes, TEXT.repeat(2));
        let members = [gzip(TEXT), gzip(TEXT)].concat();
        assert_eq!(of("gzip", members, 1000).bytes, TEXT.repeat(2));
    }

    #[test]
    fn what_unpacks_to_too_much_is_cut() {
        let zeros = vec![0; 8 * 1024 * 1024];
        for (coding, bomb) in [
            ("gzip", gzip(&zeros)),
            ("deflate", zlib(&zeros)),
            ("zstd", zstd(&zeros)),
            ("gzip, gzip", gzip(&gzip(&zeros))),
        ] {
            assert!(bomb.len() < 64 * 1024);
            let found = of(coding, bomb, 10_000);
            assert_eq!((found.bytes.len(), found.cut), (10_000, true), "{coding}");
        }
        assert!(of("identity", TEXT, 10).cut);
    }

    #[test]
    fn the_beginning_of_a_body_is_unpacked_as_far_as_it_goes() {
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            ("deflate", zlib(TEXT)),
            ("br", BROTLI.to_vec()),
            ("zstd", zstd(TEXT)),
        ] {
            for end in 1..body.len() {
                let found = of(coding, body[..end].to_vec(), 1000);
                assert!(TEXT.starts_with(&found.bytes), "{coding} to {end}");
                assert!(found.cut, "{coding} to {end}: {:?}", found.trouble);
            }
        }
    }

    #[test]
    fn nonsense_is_called_that() {
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let found = of(coding, &b"\xff\xff\xff plain text, not packed"[..], 1000);
            assert!(found.trouble.is_some(), "{coding}");
        }
        let found = of("rot13", TEXT, 1000);
        assert_eq!(found.bytes, TEXT);
        assert!(found.trouble.unwrap().contains("rot13"));
    }
}
