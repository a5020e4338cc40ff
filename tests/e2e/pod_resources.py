"""Kubelets' PodResources as grpcio serves it, for the agent's client (agent/src/pods/kubelet/): one socket for each way
to answer, all in the directory that is given. Prints `ready`, and ends when its stdin does.

usage: pod_resources.py DIRECTORY [DEVICE…]

`node.sock` is a kubelet that gave each DEVICE to the container `main` of a pod `ml/train-N`.

The messages have every field of k8s.io/kubelet/pkg/apis/podresources/v1/api.proto, also those that the agent leaves out.
"""

import pathlib
import sys
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SERVICE = "v1.PodResourcesLister"
# Name, number and type of each field; * is for repeated.
MESSAGES = {
    "ListPodResourcesRequest": [],
    "ListPodResourcesResponse": [("pod_resources", 1, "PodResources*")],
    "AllocatableResourcesRequest": [],
    "AllocatableResourcesResponse": [
        ("devices", 1, "ContainerDevices*"),
        ("cpu_ids", 2, "int64*"),
        ("memory", 3, "ContainerMemory*"),
    ],
    "PodResources": [
        ("name", 1, "string"),
        ("namespace", 2, "string"),
        ("containers", 3, "ContainerResources*"),
    ],
    "ContainerResources": [
        ("name", 1, "string"),
        ("devices", 2, "ContainerDevices*"),
        ("cpu_ids", 3, "int64*"),
        ("memory", 4, "ContainerMemory*"),
        ("dynamic_resources", 5, "DynamicResource*"),
    ],
    "ContainerMemory": [
        ("memory_type", 1, "string"),
        ("size", 2, "uint64"),
        ("topology", 3, "TopologyInfo"),
    ],
    "ContainerDevices": [
        ("resource_name", 1, "string"),
        ("device_ids", 2, "string*"),
        ("topology", 3, "TopologyInfo"),
    ],
    "TopologyInfo": [("nodes", 1, "NUMANode*")],
    "NUMANode": [("ID", 1, "int64")],
    "DynamicResource": [
        ("claim_name", 2, "string"),
        ("claim_namespace", 3, "string"),
        ("claim_resources", 4, "ClaimResource*"),
    ],
    "ClaimResource": [
        ("cdi_devices", 1, "CDIDevice*"),
        ("driver_name", 2, "string"),
        ("pool_name", 3, "string"),
        ("device_name", 4, "string"),
    ],
    "CDIDevice": [("name", 1, "string")],
}

TOPOLOGY = {"nodes": [{"ID": "1"}]}
MEMORY = [{"memory_type": "hugepages-1Gi", "size": str(1 << 30), "topology": TOPOLOGY}]
LIST = {
    "pod_resources": [
        {
            "name": "train-0",
            "namespace": "ml",
            "containers": [
                {
                    "name": "main",
                    "devices": [
                        {
                            "resource_name": "nvidia.com/gpu",
                            "device_ids": ["GPU-1fd4ab08-5b2c-4a6f-9d7e-0a7f5a1c9b11"],
                            "topology": TOPOLOGY,
                        },
                        {"resource_name": "rdma/hca", "device_ids": ["a", "b"]},
                    ],
                    "cpu_ids": ["2", "3", "300"],
                    "memory": MEMORY,
                },
                {"name": "sidecar"},
            ],
        },
        {"name": "idle", "namespace": "ml"},
        {"name": "No Pod's Name", "namespace": "ml", "containers": [{"name": "x", "devices": [{}]}]},
        {
            "name": "claims",
            "namespace": "ml",
            "containers": [
                {
                    "name": "main",
                    "dynamic_resources": [
                        {
                            "claim_name": "two-gpus",
                            "claim_namespace": "ml",
                            "claim_resources": [
                                {
                                    "cdi_devices": [{"name": "k8s.gpu.nvidia.com/device=gpu-0"}],
                                    "driver_name": "gpu.nvidia.com",
                                    "pool_name": "node-1",
                                    "device_name": "gpu-0",
                                },
                                {"driver_name": "gpu.nvidia.com", "device_name": "gpu-1"},
                            ],
                        }
                    ],
                }
            ],
        },
    ]
}
ALLOCATABLE = {
    "devices": [{"resource_name": "nvidia.com/gpu", "device_ids": ["GPU-1", "GPU-2"], "topology": TOPOLOGY}],
    "cpu_ids": ["0", "1"],
    "memory": MEMORY,
}


def classes():
    """The messages, made from the table."""
    file = descriptor_pb2.FileDescriptorProto(name="api.proto", package="v1", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            made = message.field.add(name=field, number=number, json_name=field)
            made.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in MESSAGES:
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".v1.{kind}"
            else:
                made.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1.{name}")) for name in MESSAGES}


def of_size(size):
    """An answer whose message has nearly that many bytes."""
    ids = ["GPU-" + "0" * 96] * (size // 102)
    devices = [{"resource_name": "nvidia.com/gpu", "device_ids": ids}]
    return {"pod_resources": [{"name": "many", "namespace": "ml", "containers": [{"name": "main", "devices": devices}]}]}


def given(devices):
    """Each device to a pod of its own."""
    main = [{"name": "main", "devices": [{"resource_name": "nvidia.com/gpu", "device_ids": [id]}]} for id in devices]
    pods = [{"name": f"train-{at}", "namespace": "ml", "containers": [main]} for at, main in enumerate(main)]
    return {"pod_resources": pods}


def serve(socket, methods):
    """A server on a unix socket, with these methods of the service."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    if methods:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


def main():
    made = classes()

    def answers(request, response, what):
        message = json_format.ParseDict(what, made[response]())
        return grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: message,
            request_deserializer=made[request].FromString,
            response_serializer=made[response].SerializeToString,
        )

    def refuses(_request, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")

    def lists(what):
        return {"List": answers("ListPodResourcesRequest", "ListPodResourcesResponse", what)}

    allocatable = answers("AllocatableResourcesRequest", "AllocatableResourcesResponse", ALLOCATABLE)
    behaviours = {
        "kubelet": lists(LIST) | {"GetAllocatableResources": allocatable},
        "empty": lists({}),
        "large": lists(of_size(4 << 20)),
        "too-large": lists(of_size(5 << 20)),
        "refusing": {"List": grpc.unary_unary_rpc_method_handler(refuses)},
        "other": None,
        "node": lists(given(sys.argv[2:])),
    }
    directory = pathlib.Path(sys.argv[1])
    servers = [serve(directory / f"{name}.sock", methods) for name, methods in behaviours.items()]
    print("ready", flush=True)
    sys.stdin.read()
    for server in servers:
        server.stop(None)


if __name__ == "__main__":
    main()
