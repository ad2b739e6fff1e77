//! Orders to give up leadership, on a listener of their own.
//!
//! The proxy of a service mesh connects to the programs of its pod from a loopback address. So the main listener can't tell
//! a program in this pod from one elsewhere. This listener is bound to loopback, where no proxy forwards to by default.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::http::{Desk, json, say};
use super::keeper::{Leave, Order};

/// Endpoint of [`Leave::StepDown`].
pub const STEP_DOWN: &str = "/v1/step-down";
/// Endpoint of [`Leave::Resign`].
pub const RESIGN: &str = "/v1/resign";

/// Source address of connections that Istio's proxy forwards from other pods.
const ISTIO_PASSTHROUGH: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Parses the address of the listener, which must be a loopback address.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}: write it as in 127.0.0.1:4041"))?;
    if address.ip().to_canonical().is_loopback() {
        Ok(address)
    } else {
        Err("orders are taken on loopback only: write it as in 127.0.0.1:4041 or [::1]:4041".to_owned())
    }
}

struct Office {
    desk: Arc<Desk>,
    orders: mpsc::Sender<Order>,
}

/// Serves until the desk's end.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let end = desk.end.clone();
    let router = Router::new()
        .route(STEP_DOWN, post(step_down))
        .route(RESIGN, post(resign))
        .fallback(async || say(StatusCode::NOT_FOUND, "orders only: elector serve --help lists them"))
        .with_state(Arc::new(Office { desk, orders }));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(end.cancelled_owned()).await
}

/// Refuses an order on the main listener.
pub async fn refuse(State(desk): State<Arc<Desk>>, uri: Uri) -> Response {
    let told = format!(
        "orders are not taken at this address: from within the pod, POST to http://{}{}",
        desk.orders_address,
        uri.path()
    );
    say(StatusCode::FORBIDDEN, &told)
}

async fn step_down(office: State<Arc<Office>>, peer: ConnectInfo<SocketAddr>) -> Response {
    leave(&office, peer, Leave::StepDown).await
}

async fn resign(office: State<Arc<Office>>, peer: ConnectInfo<SocketAddr>) -> Response {
    leave(&office, peer, Leave::Resign).await
}

async fn leave(office: &Office, ConnectInfo(peer): ConnectInfo<SocketAddr>, leave: Leave) -> Response {
    let peer = peer.ip().to_canonical();
    if !peer.is_loopback() || peer == ISTIO_PASSTHROUGH {
        return say(StatusCode::FORBIDDEN, "only programs in this pod, on loopback, may ask for that");
    }
    let (done, is_done) = oneshot::channel();
    // The order stands, whether the client waits for the answer or not.
    if office.orders.send(Order { leave, done }).await.is_ok() && is_done.await.is_ok() {
        return json(&office.desk.view());
    }
    say(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the Lease could not be released: unless it was renewed, it runs out by itself",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leadergroup_elector::{Elector, Options};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::watch;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::super::http;
    use super::super::view::About;
    use super::*;

    /// How long an answer may take.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Both listeners, of a candidate that reaches no API server.
    struct Servers {
        main: SocketAddr,
        orders: SocketAddr,
        on_order: mpsc::Receiver<Order>,
        _elector: Elector,
        _giving_up: watch::Sender<bool>,
    }

    async fn servers(orders_ip: &str) -> Servers {
        let options = Options::new("shop", "billing", "a");
        let about = About::of(&options);
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let elector = Elector::start(config, options).unwrap();
        let main = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let orders = TcpListener::bind((orders_ip, 0)).await.unwrap();
        let (main_address, orders_address) = (main.local_addr().unwrap(), orders.local_addr().unwrap());
        let (giving_up, on_giving_up) = watch::channel(false);
        let (order, on_order) = mpsc::channel(16);
        let desk = Desk::new(about, &elector, on_giving_up, orders_address, CancellationToken::new());
        let desk = Arc::new(desk);
        tokio::spawn(http::serve(main, desk.clone()));
        tokio::spawn(serve(orders, desk, order));
        Servers { main: main_address, orders: orders_address, on_order, _elector: elector, _giving_up: giving_up }
    }

    /// POSTs from a source address, and returns status and body.
    async fn post_from(source: &str, to: SocketAddr, path: &str) -> (u16, String) {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn main_listener_refuses_orders_of_everybody() {
        let mut servers = servers("127.0.0.1").await;
        for (path, source) in [(STEP_DOWN, "127.0.0.1"), (RESIGN, "127.0.0.1"), (RESIGN, "127.0.0.6")] {
            let (code, body) = post_from(source, servers.main, path).await;
            assert_eq!(code, 403, "{path} from {source}");
            assert!(body.contains(&format!("http://{}{path}", servers.orders)), "{body}");
        }
        assert!(servers.on_order.try_recv().is_err());
    }

    #[tokio::test]
    async fn orders_listener_takes_orders_of_this_pod() {
        for ip in ["127.0.0.1", "::1"] {
            if std::net::TcpListener::bind((ip, 0)).is_err() {
                eprintln!("NOT PROVEN, for want of {ip}: orders are taken on it");
                continue;
            }
            let mut servers = servers(ip).await;
            for (path, leave) in [(STEP_DOWN, Leave::StepDown), (RESIGN, Leave::Resign)] {
                let client = tokio::spawn(post_from(ip, servers.orders, path));
                let order = servers.on_order.recv().await.unwrap();
                assert_eq!(order.leave, leave);
                assert!(!client.is_finished(), "answered before the order was carried out");
                order.done.send(()).unwrap();
                assert_eq!(client.await.unwrap().0, 200, "{path} at {ip}");
            }
        }
    }

    #[tokio::test]
    async fn orders_listener_refuses_proxy_of_a_mesh() {
        let mut servers = servers("127.0.0.1").await;
        assert_eq!(post_from("127.0.0.6", servers.orders, RESIGN).await.0, 403);
        assert!(servers.on_order.try_recv().is_err());
    }

    #[tokio::test]
    async fn orders_listener_serves_nothing_else() {
        let servers = servers("127.0.0.1").await;
        for path in ["/", "/leader", "/healthz", "/v1/resignation"] {
            assert_eq!(post_from("127.0.0.1", servers.orders, path).await.0, 404, "{path}");
        }
    }

    #[test]
    fn orders_address_is_loopback() {
        for text in ["127.0.0.1:4041", "127.0.0.2:0", "[::1]:4041", "[::ffff:127.0.0.1]:4041"] {
            assert!(loopback(text).is_ok(), "{text}");
        }
        for text in ["0.0.0.0:4041", "[::]:4041", "10.0.0.1:4041", "[::ffff:10.0.0.1]:4041", "[fe80::1]:4041"] {
            assert!(loopback(text).is_err(), "{text}");
        }
        for text in ["", "4041", "localhost:4041", "127.0.0.1", "127.0.0.1:65536", "::1:4041"] {
            assert!(loopback(text).is_err(), "{text}");
        }
    }
}
