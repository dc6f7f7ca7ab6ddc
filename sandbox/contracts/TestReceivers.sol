// SPDX-License-Identifier: MIT
pragma solidity 0.8.20;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";

interface IGlisk {
    function mint(address promptAuthor, uint256 quantity) external payable;
    function tokenPromptAuthor(uint256 tokenId) external view returns (address);
    function claimAuthorRewards() external;
}

/// @notice A minter without onERC721Received: the collection must refuse it.
contract DeafReceiver {
    function mintFrom(IGlisk glisk, address author) external payable {
        glisk.mint{value: msg.value}(author, 1);
    }
}

/// @notice A minter that records what its callback sees, and may try to mint again inside it.
contract GreedyReceiver is IERC721Receiver {
    bool public reenter;
    address public authorSeenInCallback = address(1);

    function setReenter(bool value) external {
        reenter = value;
    }

    function mintFrom(IGlisk glisk, address author) external payable {
        glisk.mint{value: msg.value}(author, 1);
    }

    /// @dev It has no receive function either, so a payment to it fails.
    function claimFrom(IGlisk glisk) external {
        glisk.claimAuthorRewards();
    }

    function onERC721Received(address, address, uint256 tokenId, bytes calldata)
        external
        returns (bytes4)
    {
        authorSeenInCallback = IGlisk(msg.sender).tokenPromptAuthor(tokenId);
        if (reenter) IGlisk(msg.sender).mint(address(this), 1);
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// @notice A coin that somebody sends to the collection by mistake.
contract TestCoin is ERC20 {
    constructor() ERC20("Test Coin", "TEST") {
        _mint(msg.sender, 1 ether);
    }
}
