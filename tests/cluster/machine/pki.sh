#!/bin/sh
# The cluster's certificates and kubeconfigs, in the current folder.
#
# usage: pki.sh ADDRESS_OF_THE_API_SERVER NODE…
set -eu
address=$1
shift
key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1.key"; }
# name, subject, alternative names
certificate() {
  key "$1"
  printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}" > "$1.ext"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt"
}
user() {
  certificate "$1" "$2"
  cat > "$1.conf" <<C
apiVersion: v1
kind: Config
clusters: [{name: cluster, cluster: {server: "https://127.0.0.1:6443", certificate-authority: "$PWD/ca.crt"}}]
users: [{name: user, user: {client-certificate: "$PWD/$1.crt", client-key: "$PWD/$1.key"}}]
contexts: [{name: context, context: {cluster: cluster, user: user}}]
current-context: context
C
}
key ca
openssl req -x509 -new -key ca.key -subj /CN=cluster -days 30 -out ca.crt
key service-accounts
openssl ec -in service-accounts.key -pubout -out service-accounts.pub
certificate kube-apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$address,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
certificate to-kubelet /O=system:masters/CN=kube-apiserver
user admin /O=system:masters/CN=admin
user kube-controller-manager /CN=system:kube-controller-manager
user kube-scheduler /CN=system:kube-scheduler
for node in "$@"; do user "$node" "/O=system:nodes/CN=system:node:$node"; done
