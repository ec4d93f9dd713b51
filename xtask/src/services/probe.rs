//! Does a service really answer? One short question in each one's own protocol, over a plain socket: an open
//! port alone means little, since most of these listen before they can serve.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::table::Service;

/// An answer takes milliseconds; a machine whose cores are all compiling takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn answers(service: Service) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port()?));
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).context("nobody listens")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    ask(service, &mut socket)
}

fn ask(service: Service, socket: &mut (impl Read + Write)) -> Result<()> {
    match service {
        Service::Kafka => kafka(socket),
        Service::Postgres => postgres(socket),
        Service::Redis => redis(socket),
        Service::Dynamodb => dynamodb(socket),
        Service::Cassandra => cassandra(socket),
    }
}

/// Metadata (version 1) for no topics: the answer names the brokers, and a broker is only named once the
/// controller has let it in. That is later than the moment its port opens.
fn kafka(socket: &mut (impl Read + Write)) -> Result<()> {
    // Length; key 3, version 1; correlation id 7; no client id; an empty array of topics.
    socket.write_all(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0])?;
    // Length, correlation id, number of brokers.
    let answer: [u8; 12] = read(socket)?;
    ensure!(answer[4..8] == [0, 0, 0, 7], "not an answer of Kafka: {answer:?}");
    ensure!(answer[8..12] != [0; 4], "the broker is not registered yet");
    Ok(())
}

/// A start-up packet: a server that is up asks for the password (`R`); one that is starting refuses (`E`).
fn postgres(socket: &mut (impl Read + Write)) -> Result<()> {
    const PACKET: &[u8] = b"\0\x03\0\0user\0triggerline\0database\0postgres\0\0";
    let length = u32::try_from(PACKET.len() + 4)?;
    socket.write_all(&length.to_be_bytes())?;
    socket.write_all(PACKET)?;
    let [kind] = read(socket)?;
    ensure!(kind == b'R', "it does not take connections yet");
    Ok(())
}

/// PING; while it loads its append-only file it answers `-LOADING`.
fn redis(socket: &mut (impl Read + Write)) -> Result<()> {
    socket.write_all(b"PING\r\n")?;
    let answer: [u8; 5] = read(socket)?;
    ensure!(&answer == b"+PONG", "not ready: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Any HTTP answer will do; without a signature it is a 400.
fn dynamodb(socket: &mut (impl Read + Write)) -> Result<()> {
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let answer: [u8; 7] = read(socket)?;
    ensure!(&answer == b"HTTP/1.", "not HTTP: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// CQL v4: OPTIONS (5) is answered by SUPPORTED (6), without logging in.
fn cassandra(socket: &mut (impl Read + Write)) -> Result<()> {
    socket.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0])?;
    let answer: [u8; 9] = read(socket)?;
    ensure!(answer[0] == 0x84 && answer[4] == 6, "not SUPPORTED: {answer:?}");
    Ok(())
}

fn read<const N: usize>(socket: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).context("it closed the connection or said nothing")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes everything and answers with fixed bytes.
    struct Says(&'static [u8]);

    impl Read for Says {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Says {
        fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
            Ok(from.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn ready_and_not_ready_are_told_apart() {
        let cases: [(Service, &[u8], bool); 10] = [
            (Service::Kafka, &[0, 0, 0, 99, 0, 0, 0, 7, 0, 0, 0, 1], true),
            (Service::Kafka, &[0, 0, 0, 99, 0, 0, 0, 7, 0, 0, 0, 0], false), // no broker is let in yet
            (Service::Postgres, b"R\0\0\0", true),
            (Service::Postgres, b"E\0\0\0", false), // "the database system is starting up"
            (Service::Redis, b"+PONG\r\n", true),
            (Service::Redis, b"-LOADING", false),
            (Service::Dynamodb, b"HTTP/1.1 400", true),
            (Service::Cassandra, &[0x84, 0, 0, 0, 6, 0, 0, 0, 1], true),
            (Service::Cassandra, &[0x84, 0, 0, 0, 0, 0, 0, 0, 1], false), // ERROR
            (Service::Cassandra, &[], false),
        ];
        for (service, answer, ready) in cases {
            assert_eq!(ask(service, &mut Says(answer)).is_ok(), ready, "{service}: {answer:?}");
        }
    }
}
