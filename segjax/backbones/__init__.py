"""Networks that turn an image into feature maps, after the classifiers they were trained as.

A backbone maps images [B, H, W, C] to a dict with a feature map under 'cK' for each stride 2**K it
visits; 'c4' and 'c5' keep their names where dilation lowers their stride. Where it max-pools in
adjacent windows, 'sK' holds the switches of the pool from 'c(K-1)' to stride 2**K.
"""
