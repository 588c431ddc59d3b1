"""The names in the registry of trained nets, by whom these are from; written down apart from it."""

from torchvision.models import (
    AlexNet_Weights,
    DenseNet121_Weights,
    GoogLeNet_Weights,
    MobileNet_V2_Weights,
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    ResNeXt50_32X4D_Weights,
    VGG16_BN_Weights,
    VGG16_Weights,
    Wide_ResNet50_2_Weights,
)

TORCHVISIONS = {
    "resnet18": ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet50.imagenet1k_v2": ResNet50_Weights.IMAGENET1K_V2,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1,
    "resnet152": ResNet152_Weights.IMAGENET1K_V1,
    "resnext50_32x4d": ResNeXt50_32X4D_Weights.IMAGENET1K_V1,
    "wide_resnet50_2": Wide_ResNet50_2_Weights.IMAGENET1K_V1,
    "alexnet": AlexNet_Weights.IMAGENET1K_V1,
    "vgg16": VGG16_Weights.IMAGENET1K_V1,
    "vgg16_bn": VGG16_BN_Weights.IMAGENET1K_V1,
    "googlenet": GoogLeNet_Weights.IMAGENET1K_V1,
    "mobilenet_v2": MobileNet_V2_Weights.IMAGENET1K_V1,
    "densenet121": DenseNet121_Weights.IMAGENET1K_V1,
}
TIMMS = (
    "resnet10t.c3_in1k",
    "resnet18.a1_in1k",
    "resnet50.a1_in1k",
    "resnet50d.ra2_in1k",
    "resnet50_gn.a1h_in1k",
    "resnetblur50.bt_in1k",
    "seresnet50.a1_in1k",
    "ecaresnet50d.miil_in1k",
    "resnext50_32x4d.a1h_in1k",
)
OWN = ("cifar_resnet20", "cifar_resnet56", "cifar_plain20", "cifar_plain56")
