//! A proxy that hands out connections to PostgreSQL by the transaction, as poolers do. Each client
//! brings one connection, and takes any for its next transaction, the last one that was given back.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

type Server = (OwnedReadHalf, OwnedWriteHalf);
type Pool = Arc<Mutex<Vec<Server>>>;

/// Its port. It ends with the test's runtime.
pub(super) async fn start(server: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pool = Pool::default();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (pool, server) = (pool.clone(), server.clone());
            // A client that goes away ends its task with an error.
            tokio::spawn(async move { serve(client, &server, &pool).await });
        }
    });
    port
}

async fn serve(client: TcpStream, server: &str, pool: &Pool) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    // The first message has no type.
    let mut length = [0; 4];
    from_client.read_exact(&mut length).await?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    from_client.read_exact(&mut startup).await?;
    to_server.write_all(&[&length[..], &startup].concat()).await?;
    loop {
        tokio::select! {
            message = read(&mut from_client) => to_server.write_all(&message?).await?,
            message = read(&mut from_server) => {
                let message = message?;
                to_client.write_all(&message).await?;
                if message[0] == b'Z' {
                    break;
                }
            }
        }
    }
    pool.lock().unwrap().push((from_server, to_server));
    loop {
        let first = read(&mut from_client).await?;
        let (mut from_server, mut to_server) = pool.lock().unwrap().pop().expect("each client brought one");
        let mut answers = i32::from(is_answered(&first));
        to_server.write_all(&first).await?;
        loop {
            tokio::select! {
                message = read(&mut from_client) => {
                    let message = message?;
                    answers += i32::from(is_answered(&message));
                    to_server.write_all(&message).await?;
                }
                message = read(&mut from_server) => {
                    let message = message?;
                    to_client.write_all(&message).await?;
                    if message[0] == b'Z' {
                        answers -= 1;
                        if answers == 0 && message[5] == b'I' {
                            break;
                        }
                    }
                }
            }
        }
        pool.lock().unwrap().push((from_server, to_server));
    }
}

/// Query and Sync are answered with "ready for query".
fn is_answered(message: &[u8]) -> bool {
    matches!(message[0], b'Q' | b'S')
}

async fn read(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 5];
    from.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut message = head.to_vec();
    message.resize(1 + length, 0);
    from.read_exact(&mut message[5..]).await?;
    Ok(message)
}
