//! Namespaces of a cluster.

use std::future::Future;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Makes a namespace.
///
/// # Panics
/// When the cluster can't be reached or refuses.
pub(super) fn make_namespace(kubeconfig: &str, name: &str) {
    let (kubeconfig, name) = (PathBuf::from(kubeconfig), name.to_owned());
    run(async move {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name);
        let namespaces: Api<Namespace> = Api::all(client(kubeconfig).await);
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a new namespace");
    });
}

/// Removes a namespace with its secrets.
///
/// # Panics
/// When the cluster can't be reached or refuses.
pub(super) fn remove_namespace(kubeconfig: &str, name: &str) {
    let (kubeconfig, name) = (PathBuf::from(kubeconfig), name.to_owned());
    run(async move {
        let client = client(kubeconfig).await;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &name);
        let (delete, all) = (DeleteParams::default(), ListParams::default());
        let removed = secrets.delete_collection(&delete, &all).await;
        removed.expect("secrets that go");
        let namespaces: Api<Namespace> = Api::all(client);
        let _ = namespaces
            .delete(&name, &DeleteParams::default())
            .await
            .expect("a namespace that goes");
        // A server without controllers leaves that to others; one with them is done already, or does it itself.
        let Ok(mut namespace) = namespaces.get(&name).await else {
            return;
        };
        if let Some(spec) = &mut namespace.spec {
            spec.finalizers = None;
        }
        let replace = PostParams::default();
        let _ = namespaces.replace_subresource("finalize", &name, &replace, &namespace).await;
    });
}

pub(super) async fn client(kubeconfig: PathBuf) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a cluster")).expect("a client")
}

/// On a thread of its own: the caller may run in an event loop.
pub(super) fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("an event loop").block_on(work)
    });
    thread.join().expect("a cluster that obeys")
}
