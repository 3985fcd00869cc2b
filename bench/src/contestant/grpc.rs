//! `grpc`: a stream of messages in one call of tonic, with windows of 4 MiB.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context as _, Result};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{Request as HttpRequest, Response as HttpResponse};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming, client, server};
use tower::{Service, service_fn};

use super::{Contestant, Course};
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;
use crate::socket::{AsyncDuplex, Connection, Listener};

pub const ENTRIES: &[&dyn Contestant] = &[&Tonic];

/// Messages between application and call.
const CHANNEL: usize = 1024;
/// Bytes that may be on their way.
const WINDOW: u32 = 4 << 20;
const PATH: &str = "/bench/send";

struct Tonic;

impl Contestant for Tonic {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn about(&self) -> &'static str {
        "tonic, one call with a stream of messages"
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let listener = Listener::bind(&course.address)?;
        stage.announce(&listener.address()?)?;
        let connection = listener.accept()?;
        let dismissal = stage.dismissal();
        let course = course.clone();
        Flavor::MultiThread.run(async move {
            let socket = connection.under_tokio()?;
            let incoming = tokio_stream::once(Ok::<_, io::Error>(Socket(socket)));
            let (done, mut checked) = mpsc::channel(1);
            Server::builder()
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .serve_with_incoming_shutdown(
                    Calls { course, done },
                    incoming.chain(tokio_stream::pending()),
                    async {
                        // Gone or dismissed, there will be no other call.
                        let _ = dismissal.await;
                    },
                )
                .await?;
            checked.recv().await.context("no call")
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let course = course.clone();
        Flavor::MultiThread.run(async move {
            let address = course.address.clone();
            let channel = Endpoint::from_static("http://bench")
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .connect_with_connector(service_fn(move |_| {
                    let socket = Connection::open(&address)
                        .and_then(Connection::under_tokio)
                        .map_err(io::Error::other);
                    async { socket.map(TokioIo::new) }
                }))
                .await?;
            let mut call = client::Grpc::new(channel);
            call.ready().await?;
            let (messages, queue) = mpsc::channel(CHANNEL);
            let mut payloads = Payloads::new(&course);

            let stopwatch = Stopwatch::start();
            let answer = tokio::spawn(async move {
                let request = Request::new(ReceiverStream::new(queue));
                call.client_streaming(request, PathAndQuery::from_static(PATH), Raw)
                    .await
            });
            for sequence in 0..course.count {
                payloads.yielding(sequence).await;
                if messages.send(payloads.make(sequence)).await.is_err() {
                    break; // the call failed and says why
                }
            }
            drop(messages);
            let confirmed: Bytes = answer.await??.into_inner();
            let confirmed = confirmed.first_chunk().context("too short")?;
            Ok(stopwatch.stop(u64::from_le_bytes(*confirmed)))
        })
    }
}

/// Answers every call.
#[derive(Clone)]
struct Calls {
    course: Course,
    done: mpsc::Sender<Checker>,
}

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<HttpRequest<Body>> for Calls {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let receive = Receive(self.clone());
        Box::pin(async move {
            Ok(server::Grpc::new(Raw)
                .client_streaming(receive, request)
                .await)
        })
    }
}

/// Receives the messages of a call.
struct Receive(Calls);

impl Service<Request<Streaming<Bytes>>> for Receive {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = Answer<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let Calls { course, done } = self.0.clone();
        Box::pin(async move {
            let mut checker = Checker::new(&course);
            let mut messages = request.into_inner();
            while let Some(message) = messages.next().await {
                checker
                    .check(&message?)
                    .map_err(|error| Status::data_loss(error.to_string()))?;
            }
            let seen = checker.seen().to_le_bytes().to_vec();
            // Nobody waits for a second call's.
            let _ = done.try_send(checker);
            Ok(Response::new(seen.into()))
        })
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A socket as tonic wants it.
struct Socket(Box<dyn AsyncDuplex>);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
