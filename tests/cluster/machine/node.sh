#!/bin/sh
# One node: the first process of a PID and a mount namespace, in which containerd, the kubelet and every pod of the node live,
# and with which they end, whatever they mounted.
#
# usage: node.sh FOLDER NAME ADDRESS POD_SUBNET CGROUP SERVERS IMAGES
#
# It runs in the cluster's network namespace. Inside, the node's own folders lie where they lie on every node
# (/var/lib/kubelet, /var/log/pods), so that what a pod mounts of its host is what it finds elsewhere.
set -eu
cd "$1"
name=$2 address=$3 pods=$4 cgroup=$5 servers=$6 images=$7
machine=$(dirname "$(readlink -f "$0")") pki=$(readlink -f ../../pki)

mount --make-rshared /
for place in kubelet:/var/lib/kubelet containerd:/var/lib/containerd run:/run/containerd netns:/run/netns \
  cni:/var/lib/cni pods:/var/log/pods containers:/var/log/containers; do
  mkdir -p "${place%%:*}"
  mount --bind "${place%%:*}" "${place#*:}"
done

cp "$machine/simulated-nvidia-runtime" /run/containerd/
ln -sfn "$PWD/gpu" /run/containerd/gpu
mkdir -p /run/containerd/cni
cat > /run/containerd/cni/10-pods.conflist <<C
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/containerd/cni-ipam", "ranges": [[{"subnet": "$pods"}]]}}]}
C
# Where this machine is a container itself, its root does not take another overlay.
snapshotter=overlayfs
[ "$(stat -f -c %T .)" != overlayfs ] || snapshotter=native
sed "s/SNAPSHOTTER/$snapshotter/" "$machine/containerd.toml" > containerd.toml

# What has lost one of the two is no node any more.
trap 'exit 1' USR1
{ containerd --config "$PWD/containerd.toml" > log/containerd.log 2>&1 || true; kill -USR1 1; } &
until ctr version > /dev/null 2>&1; do sleep 0.1; done
for image in "$images"/*.tar; do
  ctr --namespace k8s.io images import "$image" >> log/images.log 2>&1
done

# A kubelet that finds no API server waits longer with each try.
until [ -e "$images/go" ]; do sleep 0.1; done
{
  "$servers/kubelet" --config="$machine/kubelet.yaml" --kubeconfig="$pki/$name.conf" --hostname-override="$name" \
    --node-ip="$address" --address="$address" --cgroup-root="$cgroup" --root-dir=/var/lib/kubelet \
    --client-ca-file="$pki/ca.crt" --cert-dir=/var/lib/kubelet/pki --container-runtime=remote \
    --container-runtime-endpoint=unix:///run/containerd/containerd.sock > log/kubelet.log 2>&1 || true
  kill -USR1 1
} &
# Children that others left behind are waited for too.
while :; do wait; sleep 1; done
