"""The published files of the data sets, and the names of others that their loaders read: known without torch."""

from __future__ import annotations

from typing import NamedTuple

from sparsecode.data.downloads import Remote

__all__ = [
    "CELEBA",
    "CELEBA_LISTS",
    "CELEBA_PICTURES",
    "CIFAR10_ARCHIVE",
    "CIFAR10_BATCHES",
    "CIFAR10_EXCERPT",
    "CIFAR10_LATENTS",
    "CIFAR10_TRAIN",
    "CIFAR10_UNPACKED",
    "DIGITS",
    "DSPRITES",
    "FASHION",
    "MINILM",
    "OLIVETTI",
    "OLIVETTI_ARRAYS",
    "IDXFiles",
]


class IDXFiles(NamedTuple):
    """Four files by the usual names: folder, address, and for each its size and the sums of the published file and of what is in it."""

    folder: str
    url: str
    sizes: tuple[int, ...]
    sums: tuple[tuple[str, str], ...]

    def files(self) -> tuple[Remote, ...]:
        """Train images, train labels, test images, test labels."""
        each = zip(_NAMES, self.sums, self.sizes, strict=True)
        return tuple(Remote(name, self.folder, self.url + name, *sums, size) for name, sums, size in each)


_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = IDXFiles(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (9_912_422, 28_881, 1_648_877, 4_542),
    (
        (
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)
FASHION = IDXFiles(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (26_421_880, 29_515, 4_422_102, 5_148),
    (
        (
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        (
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        (
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        (
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)

CELEBA_PICTURES = "img_align_celeba"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_FACES = Remote(
    f"{CELEBA_PICTURES}.zip",
    "celeba",
    "https://s3-us-west-1.amazonaws.com/udacity-dlnfd/datasets/celeba.zip",
    "md5:00d2c5bc6d35e252742224ab0c1e8fcb",
    size=1_443_490_838,
)
CELEBA_LISTS = (
    Remote(
        "list_attr_celeba.txt",
        "celeba",
        f"{_DRIVE}0B7EVK8r0v71pblRyaVFSWGxPY0U",
        "md5:75e246fa4810816ffd6ee81facbd244c",
        size=26_721_026,
    ),
    Remote(
        "list_eval_partition.txt",
        "celeba",
        f"{_DRIVE}0B7EVK8r0v71pY0NSMzRuSXJEVkk",
        "md5:d32c9cbf5e040fd4025c592c306e6668",
        size=2_836_386,
    ),
)
CELEBA = (_FACES, *CELEBA_LISTS)

CIFAR10_ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    "cifar10",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    size=170_052_171,
)
CIFAR10_BATCHES = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_UNPACKED = tuple(
    f"{CIFAR10_ARCHIVE.folder}/{folder}{CIFAR10_TRAIN[0]}" for folder in (f"{CIFAR10_BATCHES}/", "")
)
CIFAR10_EXCERPT = "cifar10_train10k_test1k.npz"
CIFAR10_LATENTS = "cifar10_convmixer_latents.npz"

DSPRITES = Remote(
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    "dsprites",
    "https://github.com/google-deepmind/dsprites-dataset/raw/master/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    "md5:7da33b31b13a06f4b04a70402ce90c2e",
    size=26_729_168,
)

OLIVETTI_ARRAYS = "olivetti_faces.npz"
OLIVETTI = Remote(
    "olivettifaces.mat",
    "olivetti",
    "https://ndownloader.figshare.com/files/5976027",
    "sha256:b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794",
    size=3_700_000,
)
MINILM = "acts_minilm_l3_wikitext2_16k_f16.npz"
